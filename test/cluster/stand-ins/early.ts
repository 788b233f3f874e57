// A process that dies before it is ready, without a word to the supervisor.

console.error("something in the libraries is broken");
process.exit(7);
