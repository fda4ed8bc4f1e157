package servertest

import "syscall"

// dieWithParent has a process killed when the thread ends that has started it.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
