-- irreversible: release 1.0.0 reads and writes this column
DROP TRIGGER reservations_contact ON reservations;
DROP FUNCTION reservations_contact();
ALTER TABLE reservations DROP COLUMN phone;
