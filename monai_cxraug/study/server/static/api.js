// Talking to the server: JSON both ways, and a token that proves that a change was asked for by this page.

let csrf = "";

export class ApiError extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
    this.reason = reason;
  }

  /** Whether trying again may help: no connection, or a server in trouble. */
  get passing() {
    return this.status === 0 || this.status >= 500 || this.status === 408;
  }
}

async function call(path, { signal, ...options }, seconds = 15) {
  let response;
  const timeout = AbortSignal.timeout(seconds * 1000);
  try {
    // browsers of before 2024 cannot join two signals; there a page that is left finishes what it fetches
    const either = (signal && AbortSignal.any?.([signal, timeout])) ?? timeout;
    response = await fetch(path, { ...options, credentials: "same-origin", signal: either });
  } catch {
    throw new ApiError(0, "network");
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  throw new ApiError(response.status, content.error || "server");
}

async function json(response) {
  const content = await response.json().catch(() => {
    throw new ApiError(0, "network");
  });
  if (content.csrf) csrf = content.csrf;
  return content;
}

export async function get(path) {
  return json(await call(path, {}));
}

export async function getBlob(path, signal) {
  const response = await call(path, { signal });
  return response.blob().catch(() => {
    throw new ApiError(0, "network");
  });
}

export async function post(path, content = {}) {
  const headers = { "Content-Type": "application/json", "X-Study-Page": "1", "X-CSRF-Token": csrf };
  return json(await call(path, { method: "POST", headers, body: JSON.stringify(content) }));
}

/** Do something again and again until it works or fails for good; tells of trouble and of its end. */
export async function insist(action, onTrouble) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const result = await action();
      if (attempt > 0) onTrouble(null);
      return result;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passing) {
        if (attempt > 0) onTrouble(null);
        throw error;
      }
      onTrouble(error);
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 400 * 1.6 ** attempt)));
    }
  }
}
