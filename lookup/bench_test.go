package lookup

import (
	"fmt"
	"os"
	"path/filepath"
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

func BenchmarkHash(b *testing.B) {
	const n = 1_000_000
	h, _ := ParseHash("bench", manyKeys(n), Options{})
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("user%d@example.org", i*7919%n)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok, _ := h.Lookup(b.Context(), keys[i&(1<<16-1)]); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkHashLoad(b *testing.B) {
	text := manyKeys(1_000_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		ParseHash("bench", text, Options{})
	}
}

func BenchmarkRegexp(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "/^subject:.*word%d (pill|loan)s?/ REJECT %d\n", i, i)
	}
	table, _ := ParseRegexp("bench", text.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := table.Lookup(b.Context(), "Subject: the minutes of our meeting on Tuesday"); ok {
			b.Fatal("found")
		}
	}
}

func BenchmarkCIDR(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "10.%d.%d.0/24 net%d\n", i/256, i%256, i)
	}
	table, _ := ParseCIDR("bench", text.String(), Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := table.Lookup(b.Context(), "192.0.2.1"); ok {
			b.Fatal("found")
		}
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
