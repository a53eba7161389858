package dirstore_test

import (
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
func BenchmarkStore(b *testing.B)  { storetest.Bench(b, options(dirstore.Options{})) }
