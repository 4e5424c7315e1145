// Columns whose names the releases do not agree on. Release 1.0.0 has a file of its own in place of this one.
export const CONTACT = 'contact';
