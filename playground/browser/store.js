// @ts-check
// A small observable store, used for all state that several parts of the page share.

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
     * Changes some fields and calls each subscriber to one of them, also if the value is unchanged.
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
     * @param {...(keyof State)} fields fields to subscribe to; none: all
     * @returns {() => void} ends the subscription
     */
    subscribe(listener, ...fields) {
      const subscriber = { fields, listener };
      subscribers.add(subscriber);
      return () => subscribers.delete(subscriber);
    },
  };
}
