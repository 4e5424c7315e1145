-- `contact` takes over from `phone`. Until `phone` is dropped, each follows the other, so that both releases find what they need.
ALTER TABLE reservations ADD COLUMN contact text NOT NULL DEFAULT '';
ALTER TABLE reservations ALTER COLUMN phone SET DEFAULT '';
UPDATE reservations SET contact = phone;

CREATE FUNCTION reservations_contact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.contact = '' THEN NEW.contact := NEW.phone; ELSE NEW.phone := NEW.contact; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER reservations_contact BEFORE INSERT ON reservations FOR EACH ROW EXECUTE FUNCTION reservations_contact();
