// @ts-check
/** Every shaded text on the page, by its id. */
export const texts = {};

/** The question that a text shows the answer to, for the Python that gives the same; null before the first. */
export const question = ({ place }) => texts[place]?.question?.() ?? null;
