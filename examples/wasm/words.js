// Counts the words of its input, by number of letters.
//
//   printf 'one two three\n' | agentkernel eval --lang js -i "$(cat words.js)"
//
// agentkernel setup eval --lang js makes the module that runs it.

const counts = new Map();
for (const word of readStdin().split(/\s+/).filter(Boolean)) {
  counts.set(word.length, (counts.get(word.length) ?? 0) + 1);
}
for (const [letters, count] of [...counts].sort((a, b) => a[0] - b[0])) {
  console.log(`${letters} letters: ${count}`);
}
