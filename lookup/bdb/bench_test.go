package bdb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/bdb"
	"github.com/mtakit/mtakit/lookup/cdb"
	"github.com/mtakit/mtakit/lookup/internal/postfixtest"
	"github.com/mtakit/mtakit/lookup/lmdb"
)

const million = 1_000_000

func benchText() string {
	var b strings.Builder
	for i := range million {
		fmt.Fprintf(&b, "user%d@example.org\tuser%d\n", i, i)
	}
	return b.String()
}

func benchKeys() []string {
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("user%d@example.org", i*7919%million)
	}
	return keys
}

func benchLookup(b *testing.B, table lookup.LookupTable, keys []string) {
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := table.Lookup(ctx, keys[i&(1<<16-1)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkCompiled asks tables of 1,000,000 keys, and postmap -q - for the same
// keys from the same files.
func BenchmarkCompiled(b *testing.B) {
	p := postfixtest.New(b, "postfix postfix-cdb postfix-lmdb")
	text, keys := benchText(), benchKeys()
	for _, kind := range []struct {
		name, ending string
		open         func(string, lookup.Options) (lookup.LookupTable, error)
	}{{"cdb", ".cdb", asTable(cdb.Open)}, {"hash", ".db", asTable(bdb.Open)}, {"btree", ".db", asTable(bdb.Open)}, {"lmdb", ".lmdb", asTable(lmdb.Open)}} {
		b.Run(kind.name, func(b *testing.B) {
			path := p.Make(b, kind.name, kind.name, text, false)
			b.Run("open", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := kind.open(path+kind.ending, lookup.Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
			table, err := kind.open(path+kind.ending, lookup.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Run("lookup", func(b *testing.B) { benchLookup(b, table, keys) })
			b.Run("postmap", func(b *testing.B) {
				for b.Loop() {
					if n := len(p.Query(b, kind.name, path, keys)); n != len(keys) {
						b.Fatal(n)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys)), "ns/key")
			})
		})
	}
}

func asTable[T lookup.LookupTable](open func(string, lookup.Options) (T, error)) func(string, lookup.Options) (lookup.LookupTable, error) {
	return func(path string, o lookup.Options) (lookup.LookupTable, error) { return open(path, o) }
}
