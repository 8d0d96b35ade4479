// Keeper's JavaScript SDK at work: reads a list of [action, arguments] from standard input, carries out one after
// the other, and writes the list of what came of each: {"answer": ...} or {"error": "..."}. The text "$2" in an
// argument stands for the answer to the action with that number, counted from 0.
"use strict";

const sdk = require("@keeper-security/secrets-manager-core");
const { HttpsProxyAgent } = require("https-proxy-agent");

sdk.setCustomProxyAgent(new HttpsProxyAgent(process.env.HTTPS_PROXY));
const options = { storage: sdk.loadJsonConfig(process.env.KSM_CONFIG), throttleSleep: async () => undefined };

async function record(uid) {
  return (await sdk.getSecrets(options, [uid])).records[0];
}

function shown(one) {
  return { uid: one.recordUid, folder: one.folderUid, inner: one.innerFolderUid, revision: one.revision, ...one.data };
}

const actions = {
  read: async (query) => (await sdk.getSecrets2(options, query)).records.map(shown),
  notation: (text) => sdk.getNotationResults(options, text),
  folders: () => sdk.getFolders(options),
  save: async ({ uid, label, value, transaction }) => {
    const found = await record(uid);
    found.data.custom.find((field) => field.label === label).value = [value];
    await sdk.updateSecret(options, found, transaction);
  },
  complete: ({ uid, rollback }) => sdk.completeTransaction(options, uid, rollback),
  create: ({ folder, inner, data }) => sdk.createSecret2(options, { folderUid: folder, subFolderUid: inner }, data),
  remove: (uids) => sdk.deleteSecret(options, uids),
  createFolder: ({ folder, inner, name }) => sdk.createFolder(options, { folderUid: folder, subFolderUid: inner }, name),
  renameFolder: ({ uid, name }) => sdk.updateFolder(options, uid, name),
  removeFolders: ({ uids, force }) => sdk.deleteFolder(options, uids, force),
  upload: async ({ uid, name, text }) =>
    sdk.uploadFile(options, await record(uid), { name, title: name, type: "text/plain", data: Buffer.from(text) }),
  download: async ({ uid, name }) => {
    const file = (await record(uid)).files.find((one) => one.data.name === name);
    return Buffer.from(await sdk.downloadFile(file)).toString();
  },
};

async function main() {
  let given = "";
  for await (const piece of process.stdin) given += piece;
  const results = [];
  const filledIn = (_key, value) => (/^\$\d+$/.test(value) ? results[value.slice(1)].answer : value);
  for (const [action, argument] of JSON.parse(given)) {
    try {
      results.push({ answer: (await actions[action](JSON.parse(JSON.stringify(argument ?? null), filledIn))) ?? null });
    } catch (error) {
      results.push({ error: error.message });
    }
  }
  process.stdout.write(JSON.stringify(results));
}

main();
