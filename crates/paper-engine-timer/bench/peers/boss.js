// Runs pg-boss with a handler that posts: node boss.js DATABASE_URL WORKERS BATCH. Prints "ready" when it works.
"use strict";
const http = require("node:http");
const PgBoss = require("pg-boss");

const [url, workers, batchSize] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

function post(address) {
  return new Promise((resolve, reject) => {
    const request = http.request(address, { method: "POST", agent, timeout: 15000 }, (answer) => {
      answer.resume();
      answer.on("end", () => (answer.statusCode < 300 ? resolve() : reject(new Error(String(answer.statusCode)))));
    });
    request.on("timeout", () => request.destroy(new Error("timed out")));
    request.on("error", reject);
    request.end();
  });
}

async function main() {
  const boss = new PgBoss({ connectionString: url, max: 16 });
  boss.on("error", (error) => console.error(error.message));
  await boss.start();
  await boss.createQueue("hook");
  // 0.5 s is the shortest interval that it takes
  const options = { batchSize: Number(batchSize), pollingIntervalSeconds: 0.5 };
  for (let number = 0; number < Number(workers); number += 1) {
    await boss.work("hook", options, (jobs) => Promise.all(jobs.map((job) => post(job.data.url))));
  }
  console.log("ready");
}

main();
