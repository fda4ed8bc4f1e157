package lookup_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mtakit/mtakit/lookup"
)

const sampleAccess = `# who may talk to us
Connect:192.0.2          REJECT not from that network
Connect:192.0.2.25       OK
example.com              REJECT
NONSENSE
`

// A table file of Postfix, asked for clients as access(5) and Sendmail's tags
// want it.
func Example() {
	dir, err := os.MkdirTemp("", "lookup")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "access")
	if err := os.WriteFile(path, []byte(sampleAccess), 0o644); err != nil {
		fmt.Println(err)
		return
	}

	access, err := lookup.OpenHash(path, lookup.Options{Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	clients := lookup.Client(lookup.Tag("Connect:", access))
	for _, client := range []string{"192.0.2.25", "192.0.2.26", "mail.example.com", "198.51.100.1"} {
		value, ok, err := clients.Lookup(context.Background(), client)
		switch {
		case err != nil:
			fmt.Println(client, "try again later:", err)
		case !ok:
			fmt.Println(client, "is not in the table")
		default:
			fmt.Println(client, "=>", value)
		}
	}
	fmt.Println(len(access.Status().Problems), "bad line")
	// Output:
	// 192.0.2.25 => OK
	// 192.0.2.26 => REJECT not from that network
	// mail.example.com => REJECT
	// 198.51.100.1 is not in the table
	// 1 bad line
}

// Patterns do not care for case. The flag i makes them do so.
func ExampleParseRegexp() {
	table, problems := lookup.ParseRegexp("header_checks", `
/^subject: *(.*)$/   WARN about $1
/^date:/i            REJECT small letters
/(unfinished/        REJECT
`, lookup.Options{})
	for _, header := range []string{"SUBJECT: hello", "Date: today", "date: today"} {
		value, ok, _ := table.Lookup(context.Background(), header)
		fmt.Println(header, "=>", value, ok)
	}
	fmt.Println(problems)
	// Output:
	// SUBJECT: hello => WARN about hello true
	// Date: today =>  false
	// date: today => REJECT small letters true
	// [header_checks:4: pattern "(unfinished": unmatched parenthesis, rule skipped]
}

// Patterns of Perl can look around. Those that have to search are given a time: a
// lookup that takes longer fails, which is no miss.
func ExampleParsePCRE() {
	table, problems := lookup.ParsePCRE("header_checks", `
if /^Content-Type:/
/name="?.*\.(exe|pif|scr)\b/     REJECT no .$1 files
endif
/^Subject:(?!.*\[list\]).*sale/  HOLD
/^x(?=unfinished/                REJECT
`, lookup.Options{MatchTime: 500 * time.Millisecond})
	for _, header := range []string{`Content-Type: a/b; name="x.EXE"`, "Subject: [list] sale", "Subject: big sale"} {
		value, ok, err := table.Lookup(context.Background(), header)
		if err != nil {
			fmt.Println(header, "try again later:", err)
			continue
		}
		fmt.Println(header, "=>", value, ok)
	}
	fmt.Println(problems)
	// Output:
	// Content-Type: a/b; name="x.EXE" => REJECT no .EXE files true
	// Subject: [list] sale =>  false
	// Subject: big sale => HOLD true
	// [header_checks:6: pattern "^x(?=unfinished": unmatched parenthesis, rule skipped]
}

// Networks written in the program.
func ExampleNetworks() {
	ours, err := lookup.Networks("127.0.0.0/8", "[::1]/128", "!192.0.2.1", "192.0.2.0/24")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, addr := range []string{"127.0.0.1", "::1", "192.0.2.1", "192.0.2.2"} {
		_, ok, _ := ours.Lookup(context.Background(), addr)
		fmt.Println(addr, ok)
	}
	// Output:
	// 127.0.0.1 true
	// ::1 true
	// 192.0.2.1 false
	// 192.0.2.2 true
}

// The query of a guide, on a database that the caller has opened. Nothing is
// asked before the first lookup.
func ExampleNewSQL() {
	_, err := lookup.NewSQL(nil, lookup.SQLQuery{
		Query: "SELECT maildir FROM passwd WHERE id='%s' AND domain='%x'",
	})
	fmt.Println(err)
	// Output:
	// sql table: query "SELECT maildir FROM passwd WHERE id='%s' AND domain='%x'": unknown expansion "%x" in "%x"
}
