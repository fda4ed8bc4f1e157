package smtptest_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/mtakit/mtakit/smtpserver/smtptest"
)

// In a test t is the test's own, and the file lies in testdata.
func Example() {
	test := func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "greeting.smtp")
		script := "S: 220 * ESMTP *\nC: QUIT\nS: 221 *\nX: eof\n"
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		smtptest.Run(t, smtptest.Pipe(t, serve), file)
	}
	ok := testing.RunTests(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "TestGreeting", F: test}})
	fmt.Println(ok)
	// Output: true
}

// serve is a server that knows only to say goodbye.
func serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 mx.example.org ESMTP small\r\n")
	buf := make([]byte, 100)
	if n, _ := c.Read(buf); string(buf[:n]) == "QUIT\r\n" {
		fmt.Fprint(c, "221 bye\r\n")
	}
}
