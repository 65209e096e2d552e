// @ts-check
// Formats numbers and characters for display.

import { sentencesOf } from "./constants.js";

const GLYPHS = { " ": "␣", "\n": "⏎", "\t": "⇥" };

/** A visible character for whitespace. @type {(character: string) => string} */
export const glyph = (character) => GLYPHS[character] ?? character;

/** 119842 → 119,842. @type {(value: number) => string} */
export const number = (value) => value.toLocaleString("en");

/** 0.75 → 75%, 0.001 → <1%. @type {(share: number) => string} */
export const percent = (share) => (share > 0 && share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`);

/** Like `percent`, with one decimal below 10%: 0.061 → 6.1%, 0.0004 → <0.1%. @type {(share: number) => string} */
export function finePercent(share) {
  const hundred = 100 * share;
  if (hundred > 0 && hundred < 0.1) return "<0.1%";
  return `${hundred === 0 || hundred >= 9.95 ? Math.round(hundred) : hundred.toFixed(1)}%`;
}

/** 1st, 2nd, 3rd, 4th, … 11th, … 21st. @type {(value: number) => string} */
export function ordinal(value) {
  const tens = value % 100;
  const ending = tens > 10 && tens < 14 ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[value % 10] ?? "th");
  return `${number(value)}${ending}`;
}

/** A change with its sign: +0.031, −0.002. @type {(amount: number, digits?: number) => string} */
export const signed = (amount, digits = 3) => `${amount < 0 ? "−" : "+"}${Math.abs(amount).toFixed(digits)}`;

/** Seconds as a rough age: just now, 5 min, 3 h, 2 days. @type {(seconds: number) => string} */
export function age(seconds) {
  const { JUST_NOW, MINUTES, HOURS, DAYS } = sentencesOf("services");
  if (seconds < 90) return JUST_NOW;
  if (seconds < 5400) return fill(MINUTES, { count: Math.round(seconds / 60) });
  if (seconds < 129_600) return fill(HOURS, { count: Math.round(seconds / 3600) });
  return fill(DAYS, { count: Math.round(seconds / 86_400) });
}

/**
 * Fills the {placeholders} of a sentence.
 * @param {string} template
 * @param {Record<string, string | number>} [values]
 */
export const fill = (template, values = {}) =>
  template.replace(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
