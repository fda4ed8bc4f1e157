package ldap_test

import (
	"testing"

	"go.uber.org/goleak"
)

// The clock of regexp2, which package lookup has, ends by itself.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}
