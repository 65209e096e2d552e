// @ts-check
/** Functions that complete a figure in the browser, by the name that a chart asks for. */
export const fills = {};
