package lookup_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// mailSchema is what guides to virtual mailboxes have.
var mailSchema = []string{
	`CREATE TABLE domains (name VARCHAR(255) PRIMARY KEY, active INT)`,
	`INSERT INTO domains VALUES ('example.org', 1), ('example.net', 0)`,
	`CREATE TABLE passwd (id VARCHAR(128) PRIMARY KEY, pass VARCHAR(128), name VARCHAR(128), uid INT, gid INT, home VARCHAR(255), maildir VARCHAR(255))`,
	`INSERT INTO passwd VALUES ('ann@example.org', '{PLAIN}secret', 'Ann', 5000, 5001, '/srv/mail', 'example.org/ann/'),
		('o''brien@example.org', '', 'O''Brien', 5000, 5001, '/srv/mail', 'example.org/obrien/'),
		('back\slash@example.org', '', 'B', 5000, 5001, '/srv/mail', NULL)`,
	`CREATE TABLE alias (address VARCHAR(255), goto VARCHAR(255))`,
	`INSERT INTO alias VALUES ('staff@example.org', 'ann@example.org'), ('staff@example.org', 'bob@example.org'),
		('info@example.org', 'ann@example.org, x@example.net'), ('empty@example.org', ''), ('@example.org', 'ann@example.org')`,
}

func fill(t testing.TB, db *sql.DB, d lookup.Dialect) {
	t.Helper()
	for _, statement := range mailSchema {
		if d == lookup.MySQL {
			statement = strings.ReplaceAll(statement, `\`, `\\`)
		}
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
}

func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "mail.db"))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func newSQL(t *testing.T, db lookup.Querier, q lookup.SQLQuery) *lookup.SQL {
	t.Helper()
	table, err := lookup.NewSQL(db, q)
	require.NoError(t, err)
	return table
}

// injections are keys that would do harm or find something if they became part
// of the statement. None of them is in the tables.
var injections = []string{
	"' OR '1'='1", "' OR 1=1 -- ", "' OR 1=1 #", "x' UNION SELECT pass FROM passwd -- ", "'; DROP TABLE passwd; --",
	`\' OR 1=1 -- `, `\`, `'`, `''`, `"`, `" OR ""="`, "%", "_%", "%%", "%s", "?", "$1", "ann@example.org\x00", "ann@example.org'-- ",
	"' OR '1'='1@example.org", "ann'@example.org", `ann\@example.org`, "ann@' OR '1'='1", "ann@example.org/*", "\xbf' OR 1=1 -- ", "/*!50000 1*/",
}

// queries are run against every database.
var queries = []struct {
	name  string
	query lookup.SQLQuery
	tabletest.Contents
	anyUser bool // the query does not look at the user
}{
	{"quoted key", lookup.SQLQuery{Query: `SELECT maildir FROM passwd WHERE id='%s'`}, tabletest.Contents{
		Found:   map[string]string{"ann@example.org": "example.org/ann/", "ANN@Example.ORG": "example.org/ann/", "o'brien@example.org": "example.org/obrien/"},
		Missing: []string{"bob@example.org", "ann", `back\slash@example.org`}}, false},
	{"bare key", lookup.SQLQuery{Query: `SELECT uid FROM passwd WHERE id = %s AND 1 = 1`}, tabletest.Contents{
		Found: map[string]string{"ann@example.org": "5000", `back\slash@example.org`: "5000"}, Missing: []string{"x@example.org"}}, false},
	{"parts", lookup.SQLQuery{Query: `SELECT name FROM passwd WHERE id = '%u@%d' AND id LIKE '%%@%d'`}, tabletest.Contents{
		Found: map[string]string{"ann@example.org": "Ann"}, Missing: []string{"ann", "@example.org", "ann@"}}, false},
	{"wildcards", lookup.SQLQuery{Query: `SELECT name FROM passwd WHERE id LIKE '%s'`}, tabletest.Contents{
		Found: map[string]string{"ann@example.org": "Ann", `back\slash@example.org`: "B"}, Missing: []string{"%", "_nn@example.org", "ann@example%", "ann@example_org", "%@example.org", "ann@%"}}, false},
	{"wildcards behind text", lookup.SQLQuery{Query: `SELECT name FROM passwd WHERE id LIKE '%%n@%d' AND id LIKE '%u|@%%' ESCAPE '|' ORDER BY name`}, tabletest.Contents{
		Found: map[string]string{"ann@example.org": "Ann", "o'brien@example.org": "O'Brien"}, Missing: []string{"%@example.org", "ann@example_org", "ann@%", "a_n@example.org", "|ann@example.org", "ann"}}, false},
	{"labels", lookup.SQLQuery{Query: `SELECT name FROM domains WHERE name='%2.%1' AND active=1`}, tabletest.Contents{
		Found: map[string]string{"x@example.org": "example.org", "x@mail.example.org": "example.org", "x@example.org.": "example.org"}, Missing: []string{"x@org", "example.org", "x@example.net"}}, true},
	{"rows", lookup.SQLQuery{Query: `SELECT goto FROM alias WHERE address='%s' ORDER BY goto`}, tabletest.Contents{
		Found:   map[string]string{"staff@example.org": "ann@example.org,bob@example.org", "info@example.org": "ann@example.org, x@example.net", "@example.org": "ann@example.org"},
		Missing: []string{"empty@example.org"}}, false},
	{"result format", lookup.SQLQuery{Query: `SELECT goto FROM alias WHERE address='%s' ORDER BY goto`, Result: "<%s|%u|%d|%S|%1>"}, tabletest.Contents{
		Found:   map[string]string{"staff@example.org": "<ann@example.org|ann|example.org|staff@example.org|org>,<bob@example.org|bob|example.org|staff@example.org|org>"},
		Missing: []string{"empty@example.org"}}, false},
	{"domains", lookup.SQLQuery{Query: `SELECT goto FROM alias WHERE address='%s' ORDER BY goto`, Domains: lookup.Inline{"example.org": "OK"}}, tabletest.Contents{
		Found: map[string]string{"staff@example.org": "ann@example.org,bob@example.org"}, Missing: []string{"@example.org", "staff@example.net", "staff"}}, false},
}

func testQueries(t *testing.T, db *sql.DB, d lookup.Dialect) {
	for _, c := range queries {
		t.Run(c.name, func(t *testing.T) {
			c.query.Dialect = d
			table := newSQL(t, db, c.query)
			if !c.anyUser {
				c.Missing = append(c.Missing, injections...)
			}
			tabletest.Run(t, table, c.Contents)
		})
	}
	t.Run("injections", func(t *testing.T) { testInjections(t, db, d) })
	t.Run("columns", func(t *testing.T) { testColumns(t, db, d) })
	t.Run("limit", func(t *testing.T) { testLimit(t, db, d) })
	t.Run("broken query", func(t *testing.T) { testBrokenQuery(t, db, d) })
	var users int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM passwd").Scan(&users))
	assert.Equal(t, 3, users)
}

// testInjections puts attacks into every part of a key, and asks for every part
// in every way that a query may have it. Each comes back as it was sent, and
// finds nothing.
func testInjections(t *testing.T, db *sql.DB, d lookup.Dialect) {
	quotes := []string{"'%s'", "%s", "'<%s>'"}
	if d != lookup.PostgreSQL {
		quotes = append(quotes, `"%s"`) // a name there, and refused
	}
	for _, attack := range []string{
		"' or '1'='1", "' or 1=1 -- ", "' or 1=1 #", "' union select pass from passwd -- ", "'; drop table passwd; --", `\' or 1=1 -- `, `\`, `\\`,
		"'", "''", `"`, `" or ""="`, "%", "_", "%s", "%%", "?", "$1", ":id", "/*", "*/", "/*!50000 1*/", "`", "[", ";", "\n", "\u00fc'",
	} {
		domain := strings.Repeat(attack+".", 8) + attack
		parts := map[string]string{"s": attack + "@" + domain, "u": attack, "d": domain}
		for letter, part := range maps.Clone(parts) {
			parts[strings.ToUpper(letter)] = part
		}
		for n := range 9 {
			parts[strconv.Itoa(n+1)] = attack
		}
		for letter, part := range parts {
			for _, quote := range quotes {
				expansion := strings.ReplaceAll(quote, "%s", "%"+letter)
				echo := newSQL(t, db, lookup.SQLQuery{Query: "SELECT " + expansion, Dialect: d})
				assert.Equal(t, strings.ReplaceAll(strings.Trim(quote, `'"`), "%s", part), get(t, echo, parts["s"]))
				finds := newSQL(t, db, lookup.SQLQuery{Query: "SELECT id FROM passwd WHERE id = " + expansion + " OR id LIKE " + expansion, Dialect: d})
				assert.Equal(t, "(none)", get(t, finds, parts["s"]))
			}
		}
		both := newSQL(t, db, lookup.SQLQuery{Query: "SELECT '%u@%d'", Dialect: d})
		assert.Equal(t, parts["s"], get(t, both, parts["s"]))
	}
}

func testColumns(t *testing.T, db *sql.DB, d lookup.Dialect) {
	found := map[string]string{"ann@example.org": "5000,5001,example.org/ann/", `back\slash@example.org`: "5000,5001"}
	if d == lookup.SQLite {
		found = map[string]string{"ann@example.org": "5000", `back\slash@example.org`: "5000"}
	}
	table := newSQL(t, db, lookup.SQLQuery{Query: `SELECT uid, gid, maildir FROM passwd WHERE id='%s'`, Dialect: d})
	tabletest.Run(t, table, tabletest.Contents{Found: found, Missing: injections})
}

func testLimit(t *testing.T, db *sql.DB, d lookup.Dialect) {
	q := lookup.SQLQuery{Query: `SELECT goto FROM alias WHERE address='%s'`, Limit: 1, Dialect: d}
	_, ok, err := newSQL(t, db, q).Lookup(t.Context(), "staff@example.org")
	require.ErrorIs(t, err, lookup.ErrExpansionLimit)
	assert.False(t, ok)
	q.Limit = 2
	value := get(t, newSQL(t, db, q), "staff@example.org")
	assert.Len(t, strings.Split(value, ","), 2)
}

func testBrokenQuery(t *testing.T, db *sql.DB, d lookup.Dialect) {
	table := newSQL(t, db, lookup.SQLQuery{Query: `SELECT nothing FROM nowhere WHERE x='%s'`, Dialect: d})
	_, ok, err := table.Lookup(t.Context(), "key")
	require.Error(t, err)
	assert.False(t, ok)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	db.SetMaxOpenConns(2)
	fill(t, db, lookup.SQLite)
	testQueries(t, db, lookup.SQLite)
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	m, db := mailMariaDB(t)
	testQueries(t, db, lookup.MySQL)
	t.Run("procedures", func(t *testing.T) { testProcedures(t, db) })
	t.Run("timeout", func(t *testing.T) {
		testTimeout(t, db, lookup.SQLQuery{Query: `SELECT SLEEP(60), '%s'`, Timeout: 50 * time.Millisecond})
	})
	t.Run("many at once", func(t *testing.T) {
		testManyAtOnce(t, db, lookup.MySQL, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'mail' AND id <> CONNECTION_ID()",
			func(context.Context, lookup.Host) (*sql.DB, error) { return mariaDBHost(t, socketOf(m), "mail"), nil })
	})
	t.Run("killed", func(t *testing.T) { testKilled(t, m, db, lookup.MySQL) })
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	p, db := mailPostgreSQL(t)
	testQueries(t, db, lookup.PostgreSQL)
	t.Run("timeout", func(t *testing.T) {
		testTimeout(t, db, lookup.SQLQuery{Query: `SELECT '%s' FROM pg_sleep(60)`, Timeout: 50 * time.Millisecond, Dialect: lookup.PostgreSQL})
	})
	t.Run("many at once", func(t *testing.T) {
		testManyAtOnce(t, db, lookup.PostgreSQL, "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
			func(context.Context, lookup.Host) (*sql.DB, error) { return postgreSQLHost(t, portOf(t, p)), nil })
	})
	t.Run("killed", func(t *testing.T) { testKilled(t, p, db, lookup.PostgreSQL) })
}

// testProcedures calls what returns one result set, none, and two.
func testProcedures(t *testing.T, db *sql.DB) {
	for _, statement := range []string{
		"CREATE PROCEDURE one(IN k VARCHAR(255)) SELECT goto FROM alias WHERE address = k ORDER BY goto",
		"CREATE PROCEDURE none(IN k VARCHAR(255)) DO 1",
		"CREATE PROCEDURE two(IN k VARCHAR(255)) BEGIN SELECT goto FROM alias WHERE address = k; SELECT 1; END",
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	const key = "staff@example.org"
	call := func(name string, optional bool) (string, bool, error) {
		return newSQL(t, db, lookup.SQLQuery{Query: "CALL " + name + "('%s')", NoResultSet: optional}).Lookup(t.Context(), key)
	}
	value, _, err := call("one", false)
	require.NoError(t, err)
	assert.Equal(t, "ann@example.org,bob@example.org", value)
	_, _, err = call("none", false)
	require.ErrorContains(t, err, "no result set")
	_, ok, err := call("none", true)
	require.NoError(t, err)
	assert.False(t, ok)
	for _, optional := range []bool{false, true} {
		_, _, err = call("two", optional)
		require.ErrorContains(t, err, "more than one result set")
	}
}

func testTimeout(t *testing.T, db *sql.DB, q lookup.SQLQuery) {
	_, ok, err := newSQL(t, db, q).Lookup(t.Context(), "key")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.False(t, ok)
}

// testManyAtOnce counts the connections at the server while a crowd asks.
func testManyAtOnce(t *testing.T, db *sql.DB, d lookup.Dialect, count string, open func(context.Context, lookup.Host) (*sql.DB, error)) {
	db.SetMaxIdleConns(0)
	defer db.SetMaxIdleConns(2)
	counter, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer counter.Close()
	var before int
	require.NoError(t, counter.QueryRowContext(t.Context(), count).Scan(&before))

	const most = 5
	hosts := &lookup.SQLHosts{Hosts: []lookup.Host{{Network: "tcp"}}, Open: open, MaxConns: most}
	defer hosts.Close()
	q := queries[0].query
	q.Dialect = d
	table := newSQL(t, hosts, q)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			value, ok, err := table.Lookup(t.Context(), "ann@example.org")
			if err != nil || !ok || value != "example.org/ann/" {
				t.Errorf("got %q %v %v", value, ok, err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	highest := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		var n int
		require.NoError(t, counter.QueryRowContext(t.Context(), count).Scan(&n))
		highest = max(highest, n-before)
	}
	assert.Positive(t, highest, "connections are kept for the next crowd")
	assert.LessOrEqual(t, highest, most)
}

// testKilled ends the server without a word, and starts it again.
func testKilled(t *testing.T, s *servertest.Server, db *sql.DB, d lookup.Dialect) {
	q := queries[0].query
	q.Dialect = d
	table := newSQL(t, db, q)
	assert.Equal(t, "example.org/ann/", get(t, table, "ann@example.org"))
	s.Kill()
	for _, key := range []string{"ann@example.org", "nobody@example.org"} {
		_, ok, err := table.Lookup(t.Context(), key)
		require.Error(t, err, "a dead server has no keys and lacks none")
		assert.False(t, ok)
	}
	_, ok, err := lookup.Maps(table, lookup.Static("found")).Lookup(t.Context(), "ann@example.org")
	require.Error(t, err, "what stands behind a dead table is not asked")
	assert.False(t, ok)

	s.Start()
	assert.Equal(t, "example.org/ann/", get(t, table, "ann@example.org"), "it recovers by itself")
	assert.Equal(t, "(none)", get(t, table, "nobody@example.org"))
}

func TestSQLQueriesThatAreWrong(t *testing.T) {
	t.Parallel()
	cases := []struct {
		query, result, reason string
		dialect               lookup.Dialect
	}{
		{query: " ", reason: "no query"},
		{query: "SELECT a FROM t WHERE k='%s", reason: "a string does not end"},
		{query: "SELECT a FROM t WHERE k='%x'", reason: `unknown expansion "%x"`},
		{query: "SELECT a FROM t WHERE k='%s' AND b LIKE '%foo'", reason: `unknown expansion "%f"`},
		{query: "SELECT a FROM t WHERE k=%", reason: "ends with a percent sign"},
		{query: "SELECT a FROM `t_%s`", reason: "expansion in a name or comment"},
		{query: "SELECT a FROM t -- %s", reason: "expansion in a name or comment"},
		{query: "SELECT a FROM t /* '%s' */", reason: "expansion in a name or comment"},
		{query: "SELECT a FROM t_%d", reason: "an expansion cannot be part of a name"},
		{query: "SELECT a FROM %uname", reason: "an expansion cannot be part of a name"},
		{query: "SELECT a FROM t WHERE k=N'%s'", reason: "expansion in a string with a prefix"},
		{query: "SELECT a FROM t WHERE k=? AND b='%s'", reason: `'?' cannot stand outside of strings`},
		{query: "SELECT a FROM t WHERE k=$1 AND b='%s'", reason: `'$' cannot stand outside of strings`, dialect: lookup.PostgreSQL},
		{query: `SELECT a FROM "t_%s"`, reason: "expansion in a name or comment", dialect: lookup.PostgreSQL},
		{query: `SELECT a FROM t WHERE "%s" = '%s'`, reason: "expansion in a name or comment", dialect: lookup.PostgreSQL},
		{query: `SELECT a FROM [t_%s]`, reason: "expansion in a name or comment", dialect: lookup.SQLite},
		{query: "SELECT a FROM `%d`", reason: "expansion in a name or comment", dialect: lookup.SQLite},
		{query: `SELECT a FROM t WHERE k=E'%s'`, reason: "expansion in a string with a prefix", dialect: lookup.PostgreSQL},
		{query: `SELECT a FROM t WHERE k=$$%s$$`, reason: `'$' cannot stand outside of strings`, dialect: lookup.PostgreSQL},
		{query: `SELECT a FROM t WHERE k LIKE '%s' ESCAPE ''`, reason: "ESCAPE behind an expansion must have one byte"},
		{query: `SELECT a FROM t WHERE k LIKE '%s' ESCAPE x`, reason: "ESCAPE behind an expansion must have a string"},
		{query: `SELECT a FROM t WHERE k LIKE '%s' ESCAPE '|`, reason: "a string does not end"},
		{query: "SELECT a FROM t /*! WHERE k='%s' */", reason: "expansion in a name or comment"},
		{query: "SELECT a FROM t WHERE k='%s'", result: "%q", reason: "result format"},
	}
	_, err := lookup.NewSQL(nil, lookup.SQLQuery{Query: "SELECT '%s'"})
	require.ErrorContains(t, err, "no database")
	for _, c := range cases {
		_, err := lookup.NewSQL(&recorder{}, lookup.SQLQuery{Query: c.query, Result: c.result, Dialect: c.dialect})
		require.Error(t, err, c.query)
		assert.Contains(t, err.Error(), c.reason)
	}
}

// recorder is a database that only notes what it is asked.
type recorder struct {
	text string
	args []any
}

var errRecorded = errors.New("recorded")

func (r *recorder) QueryContext(_ context.Context, text string, args ...any) (*sql.Rows, error) {
	r.text, r.args = text, args
	return nil, errRecorded
}

func TestSQLStatements(t *testing.T) {
	t.Parallel()
	const key = "Us'er@Example.ORG"
	cases := []statementCase{
		{"quoted", `WHERE email='%s'`, `WHERE email=?`, []any{"us'er@example.org"}, lookup.MySQL},
		{"double quotes", `WHERE email="%s"`, `WHERE email=?`, []any{"us'er@example.org"}, lookup.MySQL},
		{"concatenated", `WHERE a = '%u@%d' AND b=1`, `WHERE a = ? AND b=1`, []any{"us'er@example.org"}, lookup.MySQL},
		{"pattern", `WHERE a LIKE '%%@%d'`, `WHERE a LIKE ?`, []any{"%@example.org"}, lookup.MySQL},
		{"percent sign", `WHERE a LIKE '%%x' AND b=%s AND c%%2=1`, `WHERE a LIKE '%x' AND b=? AND c%2=1`, []any{"us'er@example.org"}, lookup.MySQL},
		{"numbered", `WHERE a='%u' AND b='%d' AND c='%u'`, `WHERE a=$1 AND b=$2 AND c=$3`, []any{"us'er", "example.org", "us'er"}, lookup.PostgreSQL},
		{"sqlite", `WHERE a=%s`, `WHERE a=?`, []any{"us'er@example.org"}, lookup.SQLite},
		{"escapes", `WHERE a='it''s \'%u\n' AND b='\\'`, `WHERE a=? AND b='\\'`, []any{"it's 'us'er\n"}, lookup.MySQL},
		{"no escapes", `WHERE a='\%u' AND b='\'`, `WHERE a=$1 AND b='\'`, []any{`\us'er`}, lookup.PostgreSQL},
		{"comment", "SELECT 1 -- it's\n, '%s'", "SELECT 1 -- it's\n, ?", []any{"us'er@example.org"}, lookup.MySQL},
		{"question mark in a string", `WHERE a='?' AND b='%s'`, `WHERE a='?' AND b=?`, []any{"us'er@example.org"}, lookup.MySQL},
		{"capital letters", `WHERE a='%S%U%D'`, `WHERE a=?`, []any{"us'er@example.orgus'erexample.org"}, lookup.MySQL},
		{"call", `CALL find('%s', %u)`, `CALL find(?, ?)`, []any{"us'er@example.org", "us'er"}, lookup.MySQL},
	}
	testStatements(t, key, cases)
}

// TestSQLPatterns has a key of what means something in patterns.
func TestSQLPatterns(t *testing.T) {
	t.Parallel()
	testStatements(t, `a_%\@b`, []statementCase{
		{"like", `WHERE a LIKE '%%\_%U@%s' AND b='%u'`, `WHERE a LIKE ? AND b=?`, []any{`%\_a\_\%\\@a\_\%\\@b`, `a_%\`}, lookup.MySQL},
		{"ilike", `WHERE a not ilike '%u'`, `WHERE a not ilike $1`, []any{`a\_\%\\`}, lookup.PostgreSQL},
		{"like binary", `WHERE a LIKE BINARY %u`, `WHERE a LIKE BINARY ?`, []any{`a\_\%\\`}, lookup.MySQL},
		{"like without escape", `WHERE a LIKE 'c\d%%%u'`, `WHERE a LIKE ? ESCAPE '\'`, []any{`c\\d%a\_\%\\`}, lookup.SQLite},
		{"like with escape", `WHERE a LIKE 'c\d%%%u' escape '!'`, `WHERE a LIKE ? escape '!'`, []any{`c\d%a!_!%\`}, lookup.SQLite},
		{"unlike", `WHERE dislike='%u'`, `WHERE dislike=?`, []any{`a_%\`}, lookup.MySQL},
		{"escapes with a prefix", `WHERE a=E'it\'s' AND b='%d'`, `WHERE a=E'it\'s' AND b=$1`, []any{"b"}, lookup.PostgreSQL},
		{"quoted name", `SELECT "it's" WHERE b='%d'`, `SELECT "it's" WHERE b=$1`, []any{"b"}, lookup.PostgreSQL},
		{"name in brackets", `SELECT [it's] WHERE b='%d'`, `SELECT [it's] WHERE b=?`, []any{"b"}, lookup.SQLite},
	})
}

type statementCase struct {
	name, query, text string
	args              []any
	dialect           lookup.Dialect
}

func testStatements(t *testing.T, key string, cases []statementCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var r recorder
			table := newSQL(t, &r, lookup.SQLQuery{Query: c.query, Dialect: c.dialect})
			_, _, err := table.Lookup(t.Context(), key)
			require.ErrorIs(t, err, errRecorded)
			assert.Equal(t, c.text, r.text)
			assert.Equal(t, c.args, r.args)
		})
	}
}

func TestSQLErrorOfDomains(t *testing.T) {
	t.Parallel()
	var r recorder
	table := newSQL(t, &r, lookup.SQLQuery{Query: "SELECT '%s'", Domains: broken})
	_, ok, err := table.Lookup(t.Context(), "user@example.org")
	require.ErrorIs(t, err, errBroken)
	assert.False(t, ok)
	assert.Empty(t, r.text, "the database was not asked")
}

var errBroken = errors.New("broken")

var broken = lookup.LookupTableFunc(func(context.Context, string) (string, bool, error) {
	return "", false, errBroken
})

// failing is a database whose rows break off.
type failing struct{ driver.Conn }

func (failing) Connect(context.Context) (driver.Conn, error) { return failing{}, nil }
func (failing) Driver() driver.Driver                        { return nil }
func (failing) Close() error                                 { return nil }
func (failing) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &brokenRows{}, nil
}

type brokenRows struct{ n int }

func (*brokenRows) Columns() []string { return []string{"a"} }
func (*brokenRows) Close() error      { return nil }
func (r *brokenRows) Next(dest []driver.Value) error {
	if r.n++; r.n > 1 {
		return fmt.Errorf("in row %d: %w", r.n, errBroken)
	}
	dest[0] = "half"
	return nil
}

func TestSQLRowsThatBreakOff(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(failing{})
	defer db.Close()
	value, ok, err := newSQL(t, db, lookup.SQLQuery{Query: "SELECT '%s'"}).Lookup(t.Context(), "key")
	require.ErrorIs(t, err, errBroken)
	assert.False(t, ok)
	assert.Empty(t, value, "half a list is none")
}

// counted counts the questions of a database.
type counted struct {
	lookup.Querier
	asked atomic.Int64
}

func (c *counted) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	c.asked.Add(1)
	return c.Querier.QueryContext(ctx, query, args...)
}

// TestUntypedArguments: a query in which PostgreSQL cannot tell the type of an argument
// is asked a second time once, and not for each key.
func TestUntypedArguments(t *testing.T) {
	t.Parallel()
	_, db := mailPostgreSQL(t)
	c := &counted{Querier: db}
	table, err := lookup.NewSQL(c, lookup.SQLQuery{Query: "SELECT concat('%u', '/')", Dialect: lookup.PostgreSQL})
	require.NoError(t, err)
	for i, key := range []string{"ann@example.org", "bob@example.org", "carol@example.org"} {
		user, _, _ := strings.Cut(key, "@")
		assert.Equal(t, user+"/", get(t, table, key))
		assert.Equal(t, int64(i+2), c.asked.Load())
	}
}
