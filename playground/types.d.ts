// Types that the page's scripts share. Scripts refer to them as import("…/types.js").

/** What `mount` receives from Gradio (js_on_load of gr.HTML). */
export interface Component {
  element: HTMLElement;
  props: { value: any };
  trigger: (event: string, data?: object) => void;
  watch: (property: string, listener: () => void) => void;
  server: Record<string, (request: object) => Promise<any>>;
}

/** A run as the catalogue lists it (playground/services/catalogue.py). */
export interface RunRow {
  id: string;
  title: string;
  shipped: boolean;
  mine: boolean;
  state: string;
  reason: string;
  place: number | null;
  step: number;
  num_steps: number;
  created: number;
  steps: number[];
  best: number | null;
  loss: number | null;
  lacks: string | null;
  slot: number;
  look: string;
}

/** What a snapshot is asked to generate (playground/services/generation_request.py). */
export interface GenerationRequest {
  run: string;
  step: number;
  prompt: string;
  prefix: string;
  temperature: number;
  top_k: number;
  max_length: number;
  seed: number;
}

/** What Python sends in the page's head. */
export interface Constants {
  frame_length: number;
  clear_errors: number;
  colours: number;
  run_states: Record<string, { icon: string; word: string }>;
  sentences: Record<string, Record<string, string>>;
}

declare global {
  interface Window {
    nanollm: { load: (path: string) => Promise<any>; mount: (path: string, name: string, component: Component) => void };
    Plotly: any;
    nanoPlotly: Promise<any>;
  }
  // Templates are plain HTML: what a selector finds in them is known to their author only.
  interface ParentNode {
    querySelector(selectors: string): any;
    querySelectorAll(selectors: string): NodeListOf<any>;
  }
  interface Element {
    closest(selectors: string): any;
  }
  interface Document {
    getElementById(id: string): any;
    createElement(tag: string): any;
  }
  interface EventTarget {
    closest?: any;
  }
}
