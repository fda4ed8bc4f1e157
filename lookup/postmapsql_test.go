package lookup_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

// sqlParams are what stands in the files beside how to connect.
var sqlParams = []string{
	"query = SELECT maildir FROM passwd WHERE id='%s'",
	"query = SELECT name FROM passwd WHERE id='%u@%d'",
	"query = SELECT name FROM passwd WHERE id='%U@%D'",
	"query = SELECT name FROM passwd WHERE id = '%S' AND uid > 10",
	"query = SELECT name FROM domains WHERE name = '%2.%1'",
	"query = SELECT 'three', '%3', '%2', '%1'",
	"query = SELECT '%1'",
	"query = SELECT '%9'",
	"query = SELECT '%u|%d'",
	"query = SELECT '%u'",
	"query = SELECT '%d'",
	"query = SELECT 'it''s 100%% %s'",
	"query = SELECT 'constant'",
	"query = SELECT uid, gid, maildir, name FROM passwd WHERE id='%s'",
	"query = SELECT goto, address FROM alias WHERE address='%s' ORDER BY goto",
	"query = SELECT goto FROM alias WHERE address='%s' ORDER BY goto\nresult_format = <%s>",
	"query = SELECT goto FROM alias WHERE address='%s' ORDER BY goto\nresult_format = %u at %d (%%)",
	"query = SELECT goto FROM alias WHERE address='%s' ORDER BY goto\nresult_format = %U+%u@%D",
	"query = SELECT goto FROM alias WHERE address='%s' ORDER BY goto\nresult_format = %S:%1.%2",
	"query = SELECT uid, goto FROM alias, passwd WHERE address='%s' ORDER BY goto, uid\nresult_format = %d",
	"query = SELECT 'x@y', '@y', 'x@', 'x', '@', 'a@b@c', '%s'\nresult_format = %u",
	"query = SELECT 'x@y', '@y', 'x@', 'x', '@', 'a@b@c', '%s'\nresult_format = %d",
	"query = SELECT 'x@y', '@y', 'x@', 'x', '@', 'a@b@c', '%s'\nresult_format = %u/%d/%s",
	"query = SELECT 'yes'\nresult_format = %U",
	"query = SELECT 'yes'\nresult_format = %D",
	"query = SELECT 'yes'\nresult_format = %3",
	"query = SELECT 'yes', '%s'\ndomain = example.org, Example.NET",
	"query = SELECT 'yes', '%s'\ndomain = !example.org, example.org example.net",
	"query = SELECT 'yes', '%s'\ndomain = inline:{example.org=x}",
	"query = SELECT goto FROM alias WHERE address='%s' ORDER BY goto\nexpansion_limit = 2",
	"table = passwd\nselect_field = maildir\nwhere_field = id",
	"table = passwd\nselect_field = maildir\nwhere_field = id\nadditional_conditions = and uid > 999 and home <> ''",
	"table = passwd\nselect_field = uid, gid\nwhere_field = id\nadditional_conditions = AND '%u' <> ''\nresult_format = %s=%S",
}

var sqlKeys = []string{
	"ann@example.org", "ANN@Example.ORG", "o'brien@example.org", `back\slash@example.org`, "staff@example.org", "info@example.org", "empty@example.org",
	"ann", "o'brien", "example.org", ".example.org", "@example.org", "ann@", "@", "@@", "a@b@example.org", "@b@example.org", "a@@example.org", "x@org",
	"x@mail.example.org", "x@a.b.c.d.e.f.g.h.i.j", "x@example.org.", "x@.example.org", "x@example..org", "x@.", "x@..", "nobody@example.net", "Nobody@EXAMPLE.net",
	"a b@example.org", `"a b"@example.org`, `a"b@example.org`, "%s", "%u@%d", "100%@example.org", "a_b@example.org", "gr\u00fc\u00dfe@example.org", "x@b\u00fccher.example",
	"' OR '1'='1", "' OR 1=1 -- ", "x' UNION SELECT pass FROM passwd -- ", "';", `\'`, `\`, `\\`, "?", "$1", "#", "/*", "--",
}

// TestPostmapSQL compares with Postfix's tables on the same databases.
func TestPostmapSQL(t *testing.T) {
	t.Parallel()
	t.Run("mysql", func(t *testing.T) {
		t.Parallel()
		p := newPostmap(t)
		p.supports(t, "mysql")
		m, db := mailMariaDB(t)
		p.agreeSQL(t, "mysql", "user = root\ndbname = mail\nhosts = unix:"+m.Socket, db, lookup.MySQL)
	})
	t.Run("pgsql", func(t *testing.T) {
		t.Parallel()
		p := newPostmap(t)
		p.supports(t, "pgsql")
		s, db := mailPostgreSQL(t)
		p.agreeSQL(t, "pgsql", "user = postgres\ndbname = postgres\nhosts = "+s.Addr, db, lookup.PostgreSQL)
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		p := newPostmap(t)
		p.supports(t, "sqlite")
		path := filepath.Join(t.TempDir(), "mail.db")
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		defer db.Close()
		fill(t, db, lookup.SQLite)
		p.agreeSQL(t, "sqlite", "dbpath = "+path, db, lookup.SQLite)
	})
}

// agreeSQL compares the tables of all files that connect as it is told.
func (p *postmap) agreeSQL(t *testing.T, kind, connect string, db lookup.Querier, d lookup.Dialect) {
	o := &lookup.Opener{}
	for i, params := range append(sqlParams, sqlOnly[d]...) {
		text := connect + "\n" + params + "\n"
		c, err := lookup.ParseConfig(fmt.Sprintf("%d.cf", i), text)
		require.NoError(t, err)
		q := c.SQLQuery(d)
		q.Domains, err = c.DomainTable(func(reference string) (lookup.LookupTable, error) { return o.Open(t.Context(), reference) })
		require.NoError(t, err)
		table, err := lookup.NewSQL(db, q)
		require.NoError(t, err)
		p.agree(t, kind, text, table, sqlKeys)
	}
	p.disagreeSQL(t, kind, connect, db, d)
}

// sqlOnly are what one database alone understands.
var sqlOnly = map[lookup.Dialect][]string{
	lookup.MySQL: {
		`query = SELECT name FROM passwd WHERE id="%s"`, `query = SELECT '\'%u\' \\ \q', "%d"`,
		"query = SELECT CONCAT('%u', 'x', \"%d\")", "query = SELECT `name` FROM `passwd` WHERE `id` LIKE '%%@%d' ORDER BY id",
	},
	lookup.PostgreSQL: {
		`query = SELECT "name" FROM "passwd" WHERE "id" = '%s'`, `query = SELECT '\%u', E'it\'s'`,
		"query = SELECT concat('%u', '/', '%d')", "query = SELECT format('%%s of %%s', '%u', name) FROM passwd WHERE id = '%s' AND uid > 0",
	},
	lookup.SQLite: {
		`query = SELECT [name] FROM "passwd" WHERE id = '%s'`, `query = SELECT '\%u' || '%d'`,
	},
}

// disagreeSQL checks that both fail where there are too many values, and where
// the query is wrong.
func (p *postmap) disagreeSQL(t *testing.T, kind, connect string, db lookup.Querier, d lookup.Dialect) {
	for _, params := range []string{
		"query = SELECT goto FROM alias WHERE address='%s'\nexpansion_limit = 1", "query = SELECT nothing FROM nowhere WHERE a='%s'",
	} {
		text := connect + "\n" + params + "\n"
		path := filepath.Join(t.TempDir(), "table.cf")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		out, err := exec.CommandContext(t.Context(), p.program, "-c", p.dir, "-q", "staff@example.org", kind+":"+path).CombinedOutput()
		require.Error(t, err)
		assert.True(t, strings.Contains(string(out), "error") || strings.Contains(string(out), "exceeded"), "%s", out)
		c, err := lookup.ReadConfig(path)
		require.NoError(t, err)
		table, err := c.SQL(db, d)
		require.NoError(t, err)
		_, ok, err := table.Lookup(t.Context(), "staff@example.org")
		require.Error(t, err)
		assert.False(t, ok)
	}
}
