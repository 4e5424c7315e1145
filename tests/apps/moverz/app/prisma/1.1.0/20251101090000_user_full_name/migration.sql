-- Release 1.0.0 goes on reading "name" and does not see the new column.
ALTER TABLE "User" ADD COLUMN "fullName" text;
UPDATE "User" SET "fullName" = "name";
