// @ts-check
// Constants and sentences that Python shares with the page's scripts.
// They are sent by playground/browser/constants.py as a JSON object in the page's head. In tests without a
// page, they are empty until `setConstants` is called.

/** @type {import("../types.js").Constants} */
export const constants = /** @type {any} */ ({ sentences: {} });

/** @param {Partial<import("../types.js").Constants>} values */
export const setConstants = (values) => Object.assign(constants, values);

/** @param {string} feature @returns {Record<string, string>} the feature's sentences by name */
export const sentencesOf = (feature) => constants.sentences[feature] ?? {};

const sent = globalThis.document?.getElementById("nanollm-constants");
if (sent) setConstants(JSON.parse(sent.textContent));
