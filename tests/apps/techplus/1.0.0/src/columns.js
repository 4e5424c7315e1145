export const CONTACT = 'phone';
