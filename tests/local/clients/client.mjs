// Asks once, then prints the stream's events until it has seen as many as it was told to.
const answer = await fetch(process.env.ELECTOR_GET_URL);
console.log(answer.status, JSON.stringify(await answer.json()));
const stream = await fetch(process.env.ELECTOR_SSE_URL);
const wanted = Number(process.argv[2]);
const decoder = new TextDecoder();
let text = "";
for await (const chunk of stream.body) {
  text += decoder.decode(chunk, { stream: true });
  const events = text.split("\n\n").slice(0, -1);  // one read may bring several
  if (events.length < wanted) continue;
  console.log(events.join("\n"));
  process.exit(0);
}
