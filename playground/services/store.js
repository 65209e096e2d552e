// @ts-check
// The one way in which parts of the page follow shared state.

/**
 * @template {object} State
 * @param {State} initial
 */
export function createStore(initial) {
  const state = { ...initial };
  const subscribers = new Set();

  return {
    /** Current values; change them with `set` only. @type {Readonly<State>} */
    state,

    /**
     * Changes some fields and calls every subscriber to one of them, also where the value is the same.
     * @param {Partial<State>} changes
     */
    set(changes) {
      Object.assign(state, changes);
      for (const { fields, listener } of [...subscribers]) {
        if (!fields.length || fields.some((field) => field in changes)) listener(state);
      }
    },

    /**
     * @param {(state: Readonly<State>) => void} listener
     * @param {...(keyof State)} fields the fields that matter to it; none: all
     * @returns {() => void} ends the subscription
     */
    subscribe(listener, ...fields) {
      const subscriber = { fields, listener };
      subscribers.add(subscriber);
      return () => subscribers.delete(subscriber);
    },
  };
}
