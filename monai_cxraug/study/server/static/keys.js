// One handler of keys at a time: the view that is shown sets it. A key that is held down answers once.

let handler = null;

/** Let a view handle keys: it gets the key's name and the event, and returns whether it was meant for it. */
export function onKeys(newHandler) {
  handler = newHandler;
}

function isTyping(target) {
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;
}

document.addEventListener("keydown", (event) => {
  if (!handler || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  // a focused button is pressed by these itself
  if (event.target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter")) return;
  const name = event.key.length === 1 ? keyName(event) : event.key;
  if (event.repeat ? isAnswerKey(name) : handler(name, event)) event.preventDefault();
});

/** The letter on the key, whatever keyboard is set: with a Korean one, the key S sends ㄴ. */
function keyName(event) {
  const letter = /^Key([A-Z])$/.exec(event.code);
  return letter ? letter[1].toLowerCase() : event.key;
}

function isAnswerKey(name) {
  return name.startsWith("Arrow") || name === " ";
}
