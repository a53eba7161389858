package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// processSpec is how a server is run.
type processSpec struct {
	bin, dir string
	args     []string
	env      []string
	addr     string // host:port it listens on
	ready    string // path that answers 200 when it is ready; "/": any answer will do
	log      string // file that gets what it prints
}

// process is a running server that can be killed and started again.
type process struct {
	spec processSpec

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

const startTimeout = 60 * time.Second

func startProcess(ctx context.Context, spec processSpec) (*process, error) {
	p := &process{spec: spec}
	return p, p.start(ctx)
}

func (p *process) start(ctx context.Context) error {
	if err := p.spawn(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !answers(ctx, "http://"+p.spec.addr+p.spec.ready, p.spec.ready != "/") {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended while starting:\n%s", p.spec.bin, p.tail())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s is not ready: %w:\n%s", p.spec.bin, ctx.Err(), p.tail()), p.stop())
		case <-time.After(15 * time.Millisecond):
		}
	}
	return nil
}

// spawn starts the process from a thread that lives as long as the process does, because the kernel's death signal is
// tied to the thread that started it and not to the program.
func (p *process) spawn() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return errors.New("already running")
	}
	out, err := os.OpenFile(p.spec.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.spec.bin, p.spec.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.spec.dir, out, out
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.spec.dir, "TMPDIR=" + os.TempDir()}, p.spec.env...)
	cmd.SysProcAttr = dieWithParent()
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed: its exit status says nothing
		}
		_ = out.Close()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.spec.bin, err)
	}
	p.cmd, p.done = cmd, done
	return nil
}

// stop kills the process and waits for its end.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	p.cmd = nil
	return nil
}

// tail is the end of what the process printed.
func (p *process) tail() string {
	data, err := os.ReadFile(p.spec.log)
	if err != nil {
		return err.Error()
	}
	const most = 4096
	return string(data[max(0, len(data)-most):])
}
