package memstore_test

import (
	"context"
	"testing"

	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

func options() storetest.Options {
	return storetest.Options{
		Versions: true, Immutable: true,
		New: func(testing.TB) storetest.Harness {
			s := memstore.New(memstore.Options{})
			return storetest.Harness{Vault: s, Remover: s, Attacker: attacker{s.Attacker()}}
		},
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, options()) }
func BenchmarkStore(b *testing.B)  { storetest.Bench(b, options()) }

type attacker struct{ a memstore.Attacker }

func (a attacker) Hide(_ context.Context, name string) error {
	a.a.Hide(name)
	return nil
}

func (a attacker) Overwrite(_ context.Context, name string, data []byte) error {
	a.a.Overwrite(name, data)
	return nil
}
