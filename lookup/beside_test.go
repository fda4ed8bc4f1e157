package lookup

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkBesidePostmap asks tables, and postmap for the same keys in the same
// files. Its figure is that of one key, without its start and without the reading of
// the file, which a run with one key takes too.
func BenchmarkBesidePostmap(b *testing.B) {
	addresses := make([]string, 2000)
	for i := range addresses {
		addresses[i] = netip.AddrFrom4([4]byte{byte(i * 7), byte(i * 31), byte(i * 11), byte(i)}).String()
	}
	var users, fields []string
	for i := range 200_000 {
		users = append(users, fmt.Sprintf("user%d@example.org", i*7919%1_000_000))
	}
	for i := range 400 {
		fields = append(fields, strings.ReplaceAll(headers[i%len(headers)], "\n", ""))
	}
	for _, c := range []struct {
		name, kind, text string
		keys             []string
		parse            func(text string) LookupTable
	}{
		{"regexp, 10,000 rules", "regexp", headerChecks(10_000), fields, func(text string) LookupTable { t, _ := ParseRegexp("f", text, Options{}); return t }},
		{"pcre, 10,000 rules", "pcre", headerChecks(10_000), fields, func(text string) LookupTable { t, _ := ParsePCRE("f", text, Options{}); return t }},
		{"cidr, 10,000 networks", "cidr", networks(10_000), addresses, func(text string) LookupTable { t, _ := ParseCIDR("f", text, Options{}); return t }},
		{"texthash, 1,000,000 keys", "texthash", manyKeys(1_000_000), users, func(text string) LookupTable { t, _ := ParseHash("f", text, Options{}); return t }},
	} {
		b.Run(c.name, func(b *testing.B) {
			table, ctx := c.parse(c.text), b.Context()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := table.Lookup(ctx, c.keys[i%len(c.keys)]); err != nil {
					b.Fatal(err)
				}
			}
			ours := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			theirs := postmapTime(b, c.kind, c.text, c.keys)
			b.ReportMetric(theirs, "postmap-ns/op")
			b.ReportMetric(theirs/ours, "times")
		})
	}
}

// postmapTime returns how many nanoseconds postmap takes for a key.
func postmapTime(b *testing.B, kind, text string, keys []string) float64 {
	program, err := exec.LookPath("/usr/sbin/postmap")
	if err != nil {
		b.Skip("postmap is absent: apt-get install --no-install-recommends postfix postfix-pcre")
	}
	dir := b.TempDir()
	conf := "compatibility_level = 3.6\nmail_owner = postfix\nsetgid_group = postdrop\nqueue_directory = " + dir + "\ndata_directory = " + dir + "\n"
	old := time.Now().Add(-time.Hour)
	for name, content := range map[string]string{"main.cf": conf, "master.cf": "", "table": text} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			b.Fatal(err)
		}
	}
	run := func(keys []string) time.Duration {
		cmd := exec.Command(program, "-c", dir, "-q", "-", kind+":"+filepath.Join(dir, "table"))
		cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		start := time.Now()
		if err := cmd.Run(); err != nil && strings.Contains(errs.String(), "fatal:") {
			b.Fatal(err, errs.String())
		}
		return time.Since(start)
	}
	one := run(keys[:1])
	return float64((run(keys) - one).Nanoseconds()) / float64(len(keys)-1)
}
