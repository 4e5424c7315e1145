CREATE TABLE "HalfWay" ("id" integer);
ALTER TABLE "NoSuchTable" ADD COLUMN "x" text;
