// What each of these scripts does: olga asks, ana approves by the question's id, ben answers the same once more.
// It prints one line of JSON: the id of the thread, what was asked, and what ben was told.
export const url = process.env.LANGGRAPH_URL;
export const [OLGA, ANA, BEN] = ["OLGA", "ANA", "BEN"].map((name) => process.env[name]);
export const words = process.env.WORDS;
export const YES = { approved: true };

export function tell(told) {
  console.log(JSON.stringify(told));
  process.exit(0); // some keep connections open
}

export async function refused(doing) {
  try {
    await doing();
    return "";
  } catch (error) {
    return String(error?.message ?? error);
  }
}

export async function until(is) {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = await is();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never: ${is}`);
}
