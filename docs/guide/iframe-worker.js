/* Search from a folder: browsers start no worker for pages that are files, so the worker's script runs in a hidden frame. */
"use strict";

if (location.protocol === "file:") {
  const started = [];

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const number = started.push(this) - 1;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      this.inside = frame.contentWindow;
      this.ready = new Promise((resolve) => {
        this.begun = resolve;
      });
      frame.contentDocument.open();
      frame.contentDocument.write(
        `<script>
          self.postMessage = (data) => parent.startedWorkers[${number}].dispatchEvent(new MessageEvent("message", { data }));
          self.importScripts = async (...urls) => {
            for (const url of urls)
              await new Promise((resolve, reject) => {
                const script = Object.assign(document.createElement("script"), { src: url, onload: resolve, onerror: reject });
                document.documentElement.append(script);
              });
          };
        <\/script>
        <script src="${new URL(url, location)}" onload="parent.startedWorkers[${number}].begun()"><\/script>`,
      );
      frame.contentDocument.close();
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };

  window.startedWorkers = started;
}
