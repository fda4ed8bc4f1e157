package ldap_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/postfixtest"
	"github.com/mtakit/mtakit/lookup/ldap"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

func directory(t testing.TB) *servertest.Server {
	t.Helper()
	ldif, err := os.ReadFile("testdata/mail.ldif")
	require.NoError(t, err)
	return servertest.Slapd(t, string(ldif))
}

// table makes a table that is closed with the test.
func table(t testing.TB, c ldap.Config) *ldap.Table {
	t.Helper()
	made, err := ldap.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, made.Close()) })
	return made
}

// ask expects a lookup to be answered, and returns "-" for a miss.
func ask(t testing.TB, table lookup.LookupTable, key string) string {
	t.Helper()
	value, ok, err := table.Lookup(t.Context(), key)
	require.NoError(t, err, key)
	if !ok {
		return "-"
	}
	return value
}

const base = "dc=example,dc=org"

func TestTable(t *testing.T) {
	t.Parallel()
	s := directory(t)
	for _, server := range []string{"ldap://" + s.Addr, "ldapi://" + url.QueryEscape(s.Socket)} {
		tabletest.Run(t, table(t, ldap.Config{Servers: []string{server}, Base: base}), tabletest.Contents{
			Found: map[string]string{
				"ann@example.org": "ann@mail.example.org", "Ann": "ann@mail.example.org",
				"bob@example.org": "bob@mail.example.org,bob,@nobody", `a*b(c)\d@example.org`: "odd@mail.example.org",
			},
			Missing: []string{"nobody@example.org", "*", "ann*", "ann)(uid=*", "ann\x00", "gr\u00fcn", "\ufffd"},
		})
	}
	// A base with a key in it.
	dynamic := table(t, ldap.Config{Servers: []string{"ldap://" + s.Addr}, Base: "uid=%u,ou=people," + base, Filter: "(objectClass=*)", Scope: ldap.Base})
	tabletest.Run(t, dynamic, tabletest.Contents{
		Found:   map[string]string{"ann": "ann@mail.example.org", "ann@example.org": "ann@mail.example.org", `odd, +"<>;\`: "odd@mail.example.org"},
		Missing: []string{"nobody", "ann,ou=people", "ann+cn=Ann", "*", `ann\2cou=people`, "#ann", " ann,", "@example.org"},
	})
}

// params are what stands in the files beside how to connect.
var params = []string{
	"",
	"query_filter = mail=%s\nresult_attribute = cn, sn",
	"query_filter = (&(objectClass=mailobject)\n (mail=%u@%d))\nresult_attribute = uid",
	"query_filter = (uid=%u)", "query_filter = (uid=%s)", "query_filter = (uid=%U)", "query_filter = (mail=%S)", "query_filter = (&(mail=%s)(uid=%2))",
	"query_filter = (mail=%U@%D)\nresult_format = %s+%u+%d", "query_filter = (mail=*@%2.%1)\nresult_attribute = mail",
	"query_filter = (mail=%s)\nresult_format = %S at %D: %1 %%", "query_filter = (mail=%s)\nresult_format = %3", "query_filter = (mail=%s)\nresult_format = [%u]",
	"query_filter = (mail=%s)\nresult_filter = old:%s", "query_filter = (objectClass=nothing)", "query_filter = (uid=%9)",
	"query_filter = (&(objectClass=inetOrgPerson)(!(uid=%u)))\nresult_attribute = uid",
	"query_filter = (&(description=Smith & Sons! | Co)(!(uid=%u)))",
	"domain = example.org", "domain = !example.org example.org", "domain = example.net, inline:{example.org=x}", "domain = example.com",
	"expansion_limit = 1", "expansion_limit = 2", "expansion_limit = 3", "size_limit = 1", "size_limit = 2", "size_limit = 1\nquery_filter = (mail=%s)",
	"scope = one", "scope = base", "scope = one\nsearch_base = ou=people,dc=example,dc=org",
	"search_base = ou=none,dc=example,dc=org", "search_base = dc=nowhere", "search_base = uid=%u,ou=people,dc=example,dc=org\nquery_filter = objectClass=*\nscope = base",
	"search_base = dc=%2,dc=%1", "search_base = ou=people,dc=%2,dc=%1\nquery_filter = uid=%u",
	"result_attribute = cn", "result_attribute = cn;lang-de\nquery_filter = uid=%u", "result_attribute = MAIL", "result_attribute = nosuch",
	"result_attribute = mail\nspecial_result_attribute = member", "result_attribute =\nleaf_result_attribute = mail\nspecial_result_attribute = member",
	"result_attribute =\nleaf_result_attribute = mail\nspecial_result_attribute = member\nterminal_result_attribute = maildrop",
	"result_attribute = maildrop\nleaf_result_attribute = mail\nspecial_result_attribute = member mailmember",
	terminalMail,
	"result_attribute = mail\nspecial_result_attribute = mailmember", "result_attribute =\nterminal_result_attribute = maildrop",
	"special_result_attribute = member\nresult_attribute = mail\nrecursion_limit = 1", "special_result_attribute = member\nresult_attribute = mail\nrecursion_limit = 2",
	"special_result_attribute = member\nresult_attribute = mail\nrecursion_limit = 3", "special_result_attribute = member\nresult_attribute = mail\nexpansion_limit = 2",
	"special_result_attribute = mailmember\nresult_attribute = mail\nsize_limit = 1",
	"bind = no", "bind = none", "bind_dn = cn=admin,dc=example,dc=org\nbind_pw = secret", "bind_dn = cn=admin,dc=example,dc=org\nbind_pw = wrong",
	"dereference = 3", "version = 3\ntimeout = 5", "debuglevel = 0",
}

var keys = []string{
	"ann@example.org", "ANN@Example.org", "ann", "bob@example.org", "bob", "nobody@example.org", "staff@example.org", "terminal@example.org", "all@example.org",
	"shared@example.org", "loop@example.org", "url@example.org", "urlmail@example.org", "urlnone@example.org", "urlbase@example.org", "urlbad@example.org",
	"dnbad@example.org", "@example.org", "example.org", "ann@", "@", "*", "*@example.org", "a*", "ann)(uid=*", `\`, `\2a`, `a*b(c)\d`, `a*b(c)\d@example.org`,
	`odd, +"<>;\`, "ann,ou=people", "ann+cn=Ann", "gr\u00fcn@example.org", "%s", "a@b@example.org", "x@a.example.org",
}

// broken are tables that fail for every key.
var broken = map[string]bool{
	"search_base = ou=none,dc=example,dc=org": true, "search_base = dc=nowhere": true,
	"bind_dn = cn=admin,dc=example,dc=org\nbind_pw = wrong": true,
}

// terminalMail is a table whose entries are not all terminal.
const terminalMail = "result_attribute = cn\nterminal_result_attribute = mail\nspecial_result_attribute = mailmember"

// differences are where our answer is another than Postfix's: it leaves out the entries
// behind a terminal one that are not, which the manual page does not say.
var differences = map[string]string{
	terminalMail + "|shared@example.org": "staff@example.org,url,ann@example.org,bob@example.org,odd",
	terminalMail + "|url@example.org":    "url,ann@example.org,bob@example.org,odd",
}

// TestPostmap compares with Postfix on the same directory.
func TestPostmap(t *testing.T) {
	t.Parallel()
	postfix := postfixtest.New(t, "postfix-ldap")
	s := directory(t)
	dir := t.TempDir()
	o := &lookup.Opener{Types: lookup.Types(), Dirs: []string{dir}}
	o.Types["ldap"] = ldap.Open
	t.Cleanup(func() { assert.NoError(t, o.Close()) })
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, p := range params {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			path := filepath.Join(dir, strconv.Itoa(i)+".cf")
			text := "server_host = ldap://" + s.Addr + "\nsearch_base = dc=example,dc=org\n" + p + "\n"
			assert.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			ours, err := o.Open(t.Context(), "ldap:"+path)
			if !assert.NoError(t, err, p) {
				return
			}
			keys := keys
			if broken[p] {
				keys = keys[:1]
			}
			answers, failed := postfix.AskAll(t, "ldap", path, keys)
			for _, key := range keys {
				got, ok, err := ours.Lookup(t.Context(), key)
				want, found := answers[key]
				if other, known := differences[p+"|"+key]; known {
					assert.NotEqual(t, other, want, "Postfix has changed")
					want = other
				}
				assert.Equal(t, failed[key] != nil, err != nil, "%s\nkey %q: Postfix %v, we %v", p, key, failed[key], err)
				assert.Equal(t, found, ok, "%s\nkey %q", p, key)
				assert.Equal(t, want, got, "%s\nkey %q", p, key)
			}
		})
	}
	group.Wait()
}
