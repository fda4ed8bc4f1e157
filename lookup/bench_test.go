package lookup

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%d@example.org\tuser%d\n", i, i)
	}
	return b.String()
}

// BenchmarkHash measures a bare map of the same keys beside the table.
func BenchmarkHash(b *testing.B) {
	const n = 1_000_000
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("user%d@example.org", i*7919%n)
	}
	text := manyKeys(n)
	b.Run("table", func(b *testing.B) {
		before := heap()
		h, _ := ParseHash("bench", text, Options{})
		size := heap() - before
		ctx := b.Context()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok, _ := h.Lookup(ctx, keys[i&(1<<16-1)]); !ok {
				b.Fatal("not found")
			}
		}
		b.ReportMetric(float64(size)/n, "B/key")
	})
	b.Run("not found", func(b *testing.B) {
		h, _ := ParseHash("bench", text, Options{})
		ctx := b.Context()
		for i := 0; b.Loop(); i++ {
			if _, ok, _ := h.Lookup(ctx, keys[i&(1<<16-1)][1:]); ok {
				b.Fatal("found")
			}
		}
	})
	b.Run("map", func(b *testing.B) {
		m := make(map[string]string, n)
		for e := range Entries("bench", text) {
			m[e.Key] = e.Value
		}
		for i := 0; b.Loop(); i++ {
			if _, ok := m[keys[i&(1<<16-1)]]; !ok {
				b.Fatal("not found")
			}
		}
	})
}

func BenchmarkHashLoad(b *testing.B) {
	text := manyKeys(1_000_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		ParseHash("bench", text, Options{})
	}
}

// headerChecks are rules as header_checks has them.
func headerChecks(n int) string {
	var text strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&text, "/^Subject:.*word%d (pill|loan)s?/ REJECT %d\n", i, i)
		case 1:
			fmt.Fprintf(&text, "/^Content-(Type|Disposition):.*name[[:space:]]*=[[:space:]]*\"?.*\\.(ext%d|pif)/ REJECT %d\n", i, i)
		case 2:
			fmt.Fprintf(&text, "/^(From|Reply-To):.*@spam%d\\.example>?$/ REJECT %d\n", i, i)
		case 3:
			fmt.Fprintf(&text, "/^Received:.*\\[10\\.%d\\.%d\\.[0-9]+\\]/ WARN %d\n", i/256%256, i%256, i)
		}
	}
	return text.String()
}

// headers are fields that header_checks look at.
var headers = []string{
	"Subject: the minutes of our meeting on Tuesday",
	"From: Alice Example <alice@example.org>",
	"Received: from mx.example.net (mx.example.net [192.0.2.25])\n\tby mail.example.org with ESMTPS id 4X7yZ1 for <bob@example.org>;\n\tFri, 27 Nov 2026 10:00:00 +0000",
	"Content-Type: application/pdf; name=\"minutes.pdf\"",
	"To: bob@example.org",
	"Message-ID: <20261127100000.4X7yZ1@mx.example.net>",
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.net; s=2026; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; h=From:To:Subject",
	"Subject: word9996 loans",
}

func BenchmarkRegexp(b *testing.B) {
	benchmarkPatterns(b, func(text string) (LookupTable, []error) { return ParseRegexp("bench", text, Options{}) })
}

func BenchmarkPCRE(b *testing.B) {
	benchmarkPatterns(b, func(text string) (LookupTable, []error) { return ParsePCRE("bench", text, Options{}) })
}

func benchmarkPatterns(b *testing.B, parse func(text string) (LookupTable, []error)) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n, " rules"), func(b *testing.B) {
			table, problems := parse(headerChecks(n))
			if len(problems) > 0 {
				b.Fatal(problems)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := table.Lookup(b.Context(), headers[i%len(headers)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRegexpLoad(b *testing.B) {
	const n = 10_000
	text := headerChecks(n)
	before := heap()
	var table *Regexp
	b.ReportAllocs()
	for b.Loop() {
		table, _ = ParseRegexp("bench", text, Options{})
	}
	b.ReportMetric(float64(heap()-before)/n, "B/rule")
	runtime.KeepAlive(table)
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// networks are of different sizes, with some rules that are negated or in blocks.
func networks(n int) string {
	var text strings.Builder
	for i := range n {
		a := netip.AddrFrom4([4]byte{byte(1 + i/7%200), byte(i * 31), byte(i * 97 / 256), byte(i * 53)})
		p, _ := a.Prefix([]int{32, 24, 24, 28, 20, 16, 30}[i%7])
		switch {
		case i%1000 == 500:
			fmt.Fprintf(&text, "if !203.0.113.0/24\n%s net%d\nendif\n", p, i)
		case i == n-1:
			fmt.Fprintf(&text, "!0.0.0.0/0 not%d\n", i)
		default:
			fmt.Fprintf(&text, "%s net%d\n", p, i)
		}
	}
	return text.String()
}

func BenchmarkCIDR(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n, " networks"), func(b *testing.B) {
			before := heap()
			table, problems := ParseCIDR("bench", networks(n), Options{})
			if len(problems) > 0 {
				b.Fatal(problems)
			}
			size := heap() - before
			keys := make([]string, 1<<12)
			for i := range keys {
				keys[i] = netip.AddrFrom4([4]byte{byte(i * 7), byte(i * 31), byte(i * 11), byte(i)}).String()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := table.Lookup(b.Context(), keys[i&(1<<12-1)]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size)/float64(n), "B/network")
		})
	}
}

func BenchmarkAddress(b *testing.B) {
	h, _ := ParseHash("bench", manyKeys(1000), Options{})
	table := &AddressTable{Tables: Maps(h), Delimiters: "+"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := table.Lookup(b.Context(), "user7+lists@example.org"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "access")
	if err := os.WriteFile(path, []byte(manyKeys(1000)), 0o644); err != nil {
		b.Fatal(err)
	}
	f, err := OpenHash(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := f.Lookup(b.Context(), "user7@example.org"); !ok {
			b.Fatal("not found")
		}
	}
}
