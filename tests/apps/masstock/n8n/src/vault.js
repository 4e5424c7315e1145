// Credentials in a file, each encrypted with AES-256-GCM under a key derived from N8N_ENCRYPTION_KEY. As in n8n, the data
// belongs to one key: started with another, the service must refuse instead of mixing two.
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const CHECK = 'n8n';

export class WrongKey extends Error {}

export class Vault {
  #file;
  #key;
  #content;

  constructor(directory, secret) {
    this.#file = path.join(directory, 'credentials.json');
    this.#content = existsSync(this.#file)
      ? JSON.parse(readFileSync(this.#file, 'utf8'))
      : { salt: randomBytes(16).toString('hex'), credentials: {} };
    this.#key = scryptSync(secret, Buffer.from(this.#content.salt, 'hex'), 32);
    if (!this.#content.check) {
      this.#content.check = this.#seal(CHECK);
      this.#save();
    } else if (this.#open(this.#content.check) !== CHECK) {
      throw new WrongKey(`N8N_ENCRYPTION_KEY is not the key that ${this.#file} was written with`);
    }
  }

  names() {
    return Object.keys(this.#content.credentials).sort();
  }

  has(name) {
    return Object.hasOwn(this.#content.credentials, name);
  }

  put(name, value) {
    this.#content.credentials[name] = this.#seal(value);
    this.#save();
  }

  matches(name, value) {
    return this.#open(this.#content.credentials[name]) === value;
  }

  #seal(text) {
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv);
    const data = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([iv, cipher.getAuthTag(), data]).toString('base64');
  }

  #open(sealed) {
    const bytes = Buffer.from(sealed, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, 12));
    decipher.setAuthTag(bytes.subarray(12, 28));
    try {
      return decipher.update(bytes.subarray(28), undefined, 'utf8') + decipher.final('utf8');
    } catch {
      return null;
    }
  }

  // Written beside and renamed: a kill leaves the old file or the new one.
  #save() {
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.#content), { mode: 0o600, flush: true });
    renameSync(`${this.#file}.new`, this.#file);
  }
}
