package dirstore_test

import (
	"syscall"
	"testing"

	"github.com/holdfast-backup/holdfast/store/dirstore"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

func options(o dirstore.Options) storetest.Options {
	return storetest.Options{
		New: func(t testing.TB) storetest.Harness {
			s, err := dirstore.Open(t.TempDir(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return storetest.Harness{Vault: s, Remover: s, Close: s.Close}
		},
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, options(dirstore.Options{})) }

// TestConformanceWithoutHardLinks: a vault is as good where the file system has no hard links, in each way in which the
// kernel says so, and where it has no renames that refuse to replace either.
func TestConformanceWithoutHardLinks(t *testing.T) {
	for name, no := range map[string][2]syscall.Errno{
		"fat":     {syscall.EPERM, 0},
		"cifs":    {syscall.EOPNOTSUPP, 0},
		"fuse":    {syscall.ENOSYS, syscall.EINVAL},
		"network": {syscall.EPERM, syscall.ENOSYS},
		"rclone":  {syscall.EIO, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(dirstore.Options{NoSync: true})
			made := o.New
			o.New = func(t testing.TB) storetest.Harness {
				h := made(t)
				dirstore.Lacking(h.Vault.(*dirstore.Store), no[0], no[1])
				return h
			}
			storetest.Run(t, o)
		})
	}
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, options(dirstore.Options{})) }
