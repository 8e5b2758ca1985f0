'use strict';
// node pkcs11-export-attempts.cjs MODULE LABEL PIN KEY_ID_HEX: prints a JSON array of ExportAttempt.
const p = require('pkcs11js');

const [modulePath, label, pin, keyIdHex] = process.argv.slice(2);
const m = new p.PKCS11();
m.load(modulePath);
m.C_Initialize();
const slot = m.C_GetSlotList(true).find((candidate) => m.C_GetTokenInfo(candidate).label.trim() === label);
const session = m.C_OpenSession(slot, p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION);
m.C_Login(session, p.CKU_USER, pin);
m.C_FindObjectsInit(session, [
  { type: p.CKA_CLASS, value: p.CKO_PRIVATE_KEY },
  { type: p.CKA_ID, value: Buffer.from(keyIdHex, 'hex') },
]);
const [key] = m.C_FindObjects(session, 1);
m.C_FindObjectsFinal(session);
if (key === undefined) throw new Error('the key is not on the token');

const attempts = [];
const attempt = (name, work) => {
  try {
    const taken = work();
    attempts.push({ name, refused: Buffer.isBuffer(taken) && taken.length === 0, answer: 'CKR_OK' });
  } catch (error) {
    attempts.push({ name, refused: true, answer: error.message });
  }
};

const SECRETS = {
  CKA_VALUE: p.CKA_VALUE,
  CKA_PRIVATE_EXPONENT: p.CKA_PRIVATE_EXPONENT,
  CKA_PRIME_1: p.CKA_PRIME_1,
};
for (const [name, type] of Object.entries(SECRETS)) {
  attempt(`C_GetAttributeValue ${name}`, () => m.C_GetAttributeValue(session, key, [{ type }])[0].value);
}
const aes = m.C_GenerateKey(session, { mechanism: p.CKM_AES_KEY_GEN }, [
  { type: p.CKA_VALUE_LEN, value: 32 },
  { type: p.CKA_TOKEN, value: false },
  { type: p.CKA_WRAP, value: true },
]);
const CKM_AES_KEY_WRAP = 0x2109;
const CKM_AES_KEY_WRAP_PAD = 0x210a;
for (const [name, mechanism] of Object.entries({ CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD })) {
  attempt(`C_WrapKey ${name}`, () => m.C_WrapKey(session, { mechanism }, aes, key, Buffer.alloc(8192)));
}
for (const [name, type, value] of [
  ['CKA_EXTRACTABLE', p.CKA_EXTRACTABLE, true],
  ['CKA_SENSITIVE', p.CKA_SENSITIVE, false],
]) {
  attempt(`C_SetAttributeValue ${name}`, () => m.C_SetAttributeValue(session, key, [{ type, value }]));
  attempt(`C_CopyObject ${name}`, () => m.C_CopyObject(session, key, [{ type, value }]));
}
process.stdout.write(JSON.stringify(attempts));
