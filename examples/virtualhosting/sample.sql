-- A domain with two users, whose password is "correct horse", and two aliases.

INSERT INTO domains (name) VALUES ('example.test');

INSERT INTO passwd (id, pass, name, home, quota) VALUES
  ('alice@example.test', '$6$virtualhosting$gA4kutxV4DZQjy.Mbz9e6VnaihY.3xeaiqQVSodz5RD4rgCvhaBVBMMshiSDtA.dl4SuD0lxbkaLeBxi8DVj/.', 'Alice', '/example.test/alice', '0'),
  ('bob@example.test', '$6$virtualhosting$gA4kutxV4DZQjy.Mbz9e6VnaihY.3xeaiqQVSodz5RD4rgCvhaBVBMMshiSDtA.dl4SuD0lxbkaLeBxi8DVj/.', 'Bob', '/example.test/bob', '10000S,10C');

INSERT INTO aliases (address, goto) VALUES
  ('postmaster@example.test', 'alice@example.test'),
  ('team@example.test', 'alice@example.test'),
  ('team@example.test', 'bob@example.test');
