package mtakit_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/mtakit/mtakit"

// policy says who may import what beside the standard library, the root package
// and its own sub-packages. A folder has the rows of the folders above it too.
// Do not change it to make a build pass: a missing row is usually a border that
// is drawn in the wrong place. The rows of library "test" hold for test files.
var policy = []struct{ folder, imports, reason string }{
	{".", "github.com/emersion/go-smtp", "its option types and replies are the words of SMTP"},

	{"smtpserver", "github.com/emersion/go-smtp", "sessions are go-smtp's"},
	{"smtpserver", "github.com/emersion/go-sasl", "AUTH speaks to sasl.Server"},
	{"smtpserver/auth", "github.com/go-crypt/crypt", "password hashes are not ours to write"},
	{"queue", "github.com/emersion/go-smtp", "replies and DSN parameters"},
	{"queue/relay", "github.com/miekg/dns", "MX look-ups that tell NXDOMAIN, NODATA and failure apart"},
	{"queue/relay", "golang.org/x/net/idna", "international domains are asked for as A-labels"},
	{"queue/filespool", "golang.org/x/sys/unix", "file locks and free space"},
	{"queue/filespool", module + "/internal/crashfs", "the tests' file system has the shape of the real one"},
	{"queue/filespool", module + "/internal/disk", "syncs that several share"},
	{"queue/spooltest", "github.com/stretchr/testify", "a conformance suite is a test"},
	{"queue/spooltest", module + "/internal/crashfs", "crashes after every operation"},
	{"maildir", "github.com/emersion/go-smtp", "status codes"},
	{"maildir", module + "/internal/disk", "syncs that several share"},
	{"internal/disk", "golang.org/x/sys/unix", "syncfs(2), and rename(2) that replaces nothing"},
	{"lookup", "github.com/emersion/go-smtp", "routes and refusals are replies"},
	{"lookup", "golang.org/x/text/cases", "keys are folded as Unicode does, so that internationalised addresses are found"},
	{"lookup", "github.com/dlclark/regexp2", "pcre patterns that look around or back"},
	{"lookup", "golang.org/x/sys/unix", "compiled tables are mapped into memory"},
	{"lookup/ldap", "github.com/go-ldap/ldap/v3", "the protocol is not ours to write"},
	{"lookup/redis", "github.com/redis/go-redis/v9", "the protocol is not ours to write"},
	{"lookup/rewrite", "golang.org/x/net/idna", "internationalised domains"},
	{"lookup/tabletest", "github.com/stretchr/testify", "a conformance suite is a test"},
	{"restrictions", "github.com/emersion/go-smtp", "refusals are replies"},
	{"filter", "github.com/emersion/go-smtp", "refusals are replies"},
	{"smtpserver/smtptest", "github.com/stretchr/testify", "a test tool"},
	{"internal/dnstest", "github.com/miekg/dns", "a real name server"},
	{"internal/dnstest", "github.com/stretchr/testify", "a test tool"},
	{"internal/crashfs", "github.com/stretchr/testify", "a test tool"},
	{"internal/disktest", "github.com/stretchr/testify", "a test tool"},

	{"examples", module, "programs are where parts are wired together"},
	{"examples", "github.com/emersion/go-smtp", "clients and replies"},
	{"examples", "github.com/emersion/go-sasl", "clients that log in"},
	{"examples", "golang.org/x/sys/unix", "the terminal and the file system"},
	{"examples", "github.com/go-sql-driver/mysql", "programs choose the drivers"},
	{"examples", "github.com/jackc/pgx/v5", "programs choose the drivers"},
	{"examples", "modernc.org/sqlite", "programs choose the drivers"},
}

// testPolicy holds for test files beside what their package may import.
var testPolicy = []struct{ folder, imports, reason string }{
	{".", "github.com/stretchr/testify", "require and assert"},
	{".", "go.uber.org/goleak", "goroutines that nobody waits for"},
	{".", "github.com/emersion/go-smtp", "a peer that is not ours"},
	{".", "github.com/emersion/go-sasl", "a peer that is not ours"},
	{".", "github.com/emersion/go-message", "a reader of messages that is not ours"},
	{".", module + "/internal", "fakes with real sockets"},
	{"lookup", "github.com/go-sql-driver/mysql", "a real MariaDB"},
	{"lookup", "github.com/jackc/pgx/v5", "a real PostgreSQL"},
	{"lookup", "modernc.org/sqlite", "a real SQLite"},
	{"queue", "golang.org/x/sys/unix", "locks and limits"},
	{"examples", "golang.org/x/sys/unix", "a power cut"},
}

func TestImports(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "internal/deps") {
			return filepath.SkipDir
		}
		// compose_test.go and the root's examples show that the siblings fit, so
		// they see them all.
		if filepath.Ext(name) != ".go" || name == "compose_test.go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			assert.True(t, mayImport(filepath.ToSlash(name), imported), "%s imports %s: see policy in deps_test.go", name, imported)
		}
		return nil
	})
	require.NoError(t, err)
}

func mayImport(file, imported string) bool {
	folder := path.Dir(file)
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || imported == module {
		return true // the standard library, and the words
	}
	top, _, _ := strings.Cut(folder, "/")
	if top != "." && within(imported, module+"/"+top) {
		return true
	}
	for _, row := range policy {
		if inFolder(folder, row.folder) && within(imported, row.imports) {
			return true
		}
	}
	if !strings.HasSuffix(file, "_test.go") {
		return false
	}
	for _, row := range testPolicy {
		if (row.folder == "." || within(folder, row.folder)) && within(imported, row.imports) {
			return true
		}
	}
	return false
}

func inFolder(folder, row string) bool {
	return folder == row || row != "." && within(folder, row)
}

func within(imported, prefix string) bool {
	return imported == prefix || strings.HasPrefix(imported, prefix+"/")
}
