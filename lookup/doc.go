// Package lookup looks things up in tables: who may send, where mail for an
// address goes, which networks are ours. It knows the table files of Postfix
// and its ways to search them, so that what an administrator has works
// unchanged.
//
// # Tables
//
// Hash: a text file of "key value" lines as postmap(1) reads it, or of
// "name: value" lines as aliases(5) has them. Keys are found in any case.
//
// Regexp: a file of patterns as regexp_table(5) has them, with if and endif,
// negation and $1. Patterns do not care for case; the flag i makes them do so.
//
// PCRE: the same in the syntax of Perl, as pcre_table(5) has it.
//
// CIDR: a file of networks as cidr_table(5) has them. A NetworkList is the
// simpler list of networks that mynetworks is.
//
// Tables that postmap(1) has compiled are in packages of their own: cdb, and read
// only bdb (hash and btree files) and lmdb.
//
// SQL: a query to a database that the caller has opened, in the language of
// mysql_table(5), pgsql_table(5) and sqlite_table(5); ReadConfig reads the .cf
// files that such queries stand in. SQLHosts is a database on several hosts, of
// which those that fail are left alone for a while.
//
// Tables in directories are in package ldap, those in Redis in package redis.
//
// TCP and Socketmap are tables that another program answers for, by the protocols of
// tcp_table(5) and socketmap_table(5); a Server lets others ask tables so.
//
// Memcache is a table in a memcached, in front of another one (memcache_table(5)).
//
// Inline, Static, Environ, Rand and Fail are small tables that stand in the
// program, Getent is the users and groups of the machine.
//
// # Strategies
//
// A table that is broken has no misses: whoever asks is told the error and
// defers. What stands behind a broken table in a list is not asked, since the
// broken one might have had another answer.
//
// Key search is done here and nowhere else. Callers ask for what they have: a
// whole address, a host name, a client's address. Address, AccessAddress,
// Client and Domain are tables made of tables that derive the further keys,
// each kind in the order of its manual page, each key in all tables before the
// next. Parts of a key never reach pattern tables.
//
// Tables made of tables also are Maps, which asks one after the other, Union,
// which joins what all have, Pipe, which asks each for what the one before
// answered, and Tag, for Sendmail's "Connect:192.0.2.1". Cache remembers what a slow
// table said, Timeout bounds it, Folded folds its keys, Log tells of each lookup.
//
// Of very many patterns only those are tried that can match. Each pattern is read
// when the table is, so that a bad one has its line in the log, and says which texts
// every key that matches holds; one automaton finds these in a key, and the rules
// whose texts are there are tried in the order of the file. A pattern is compiled
// when it is first tried, and at most 4,096 of a table at a time. A rule takes some
// 500 bytes beside its compiled form, which has some kilobytes.
//
// Patterns are matched in time linear in the key, but for those that look around,
// refer back or do not go back: these search. A lookup in a table that has such
// patterns, or in any pcre table, fails when it takes longer than Options.MatchTime,
// which is no miss; so does one in either kind when its ctx ends, within a long
// search too.
//
// Networks are found by binary search among the places where one begins or ends,
// 180 bytes each. Negated rules and rules in blocks keep their place in the file; of
// the negated ones in one place at most 34 are tried for IPv4 and 130 for IPv6.
//
// Files are read again when they change. Lookups never wait for each other:
// they see one version of a file or the next. A file that is just being written
// is left alone until it has been still for about a second; one that cannot be
// read, or is gone, leaves its last version in force. A bad line is logged with
// file, line and reason, and skipped: it never disables the table.
//
// Values from outside never become part of a pattern or of SQL text. What a
// query's %s stands for is bound as an argument, together with the string it
// stands in: '%u@%d' is one argument. A query that wants it in a name or in a
// comment is refused. Directly behind LIKE, what a key has of % and _ means
// itself; the patterns of other operators are the query's own care.
//
// Bytes are compared as Postfix compares them: fixed keys by Unicode's case
// folding where they are UTF-8, patterns byte by byte as in the C locale.
//
// # Use
//
//  1. Open the files: OpenHash, OpenAliases, OpenRegexp, OpenPCRE, OpenCIDR,
//     OpenNetworks; or have an Opener open what stands in a main.cf, "hash:/etc/aliases",
//     of the types and from the directories that you allow. An error means that there is no such file; what is wrong in
//     it is in the log and in Status.
//  2. Open the database with a driver of your choice and call NewSQL, or
//     ReadConfig and its SQL. Bound the connections, with SetMaxOpenConns or
//     MaxConns of SQLHosts: what more lookups there are wait for one.
//     Give the driver what Config.TLS returns, or a file that asks for TLS is asked
//     in the clear, and refuse what Config.Check does, as OpenSQL does for you.
//  3. Put them together: Client(Tag("Connect:", access)).
//  4. Give the result to whoever asks for a table: every package of mtakit that
//     needs one declares the method that LookupTable has.
//  5. At SIGHUP call Reload of each File.
//
// A table of your own needs the one method of LookupTable, or is a
// LookupTableFunc; tabletest.Run checks it.
//
// # Caveats
//
// In regexp tables repetition counts end at 1000. The whole match is the longest one
// as in POSIX, but that of a pattern with back references is the first that a
// backtracking search finds. Where the parentheses could share a match in more than
// one way, the first of these ways counts, too. \< and \> stand at any edge of a word.
// A ^ or $ within a group that repeats means what it means elsewhere, where the GNU C
// library may overlook it; it overlooks some matches of patterns, too, in which a back
// reference and its group are in different branches. Behind and in front of a newline
// that the pattern itself matches it finds ^ and $ without the flag m. "\d" and the
// like are not in
// POSIX, and as with the GNU C library never match unless the flag i is set: write
// [0-9].
//
// A byte order mark at the start of a file is skipped, and lines may end in
// CRLF. Lines longer than MaxLine are skipped.
//
// A file that stops growing for more than a second in the middle of being
// written is read as it is. Write another file and rename it, as postmap does.
//
// Nothing is cached but by a Cache: a database is asked each time.
//
// Pcre tables do not know recursion, "(?R)" and "(?1)", verbs such as "(*UTF8)",
// callouts, references in a look behind, "(?|" with groups in it, a condition's look
// with groups or conditions in it, and the options J, n and xx: such a rule is skipped
// with a log line. The captures of a group that repeats and may match nothing can
// differ in their empty parts. Properties that PCRE alone has, "\p{Xan}", are bad, too.
//
// In cidr tables an IPv4-mapped address, "::ffff:192.0.2.1", is its IPv4 address; Postfix
// never has one as a key.
package lookup
