// @ts-check
// What Python and the scripts share (playground/services/browser_constants.py), sent as one JSON object in the page's
// head. In tests without a page it is empty until `setConstants` fills it.

/** @type {import("../types.js").Constants} */
export const constants = /** @type {any} */ ({ sentences: {} });

/** @param {Partial<import("../types.js").Constants>} values */
export const setConstants = (values) => Object.assign(constants, values);

/** @param {string} feature @returns {Record<string, string>} sentences of a feature's catalogue, by name */
export const sentencesOf = (feature) => constants.sentences[feature] ?? {};

const sent = globalThis.document?.getElementById("nanollm-constants");
if (sent) setConstants(JSON.parse(sent.textContent));
