-- irreversible: releases before 1.1.0 cannot log anybody in without "name", and what it held is gone.
UPDATE "User" SET "fullName" = "name" WHERE "fullName" IS NULL;
ALTER TABLE "User" DROP COLUMN "name";
