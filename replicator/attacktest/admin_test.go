package attacktest

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// adminAttacks is what the vault's own administrator tries, who has every right there is: in compliance mode none of them
// counts against a lock.
func adminAttacks() []attack {
	compliance, governance := types.ObjectLockRetentionModeCompliance, types.ObjectLockRetentionModeGovernance
	out := []attack{
		{"admin-deletes-each-version", "delete every version by its ID, one by one", refused, deleteEach(false)},
		{"admin-deletes-each-version-bypassing", "the same, asking to bypass governance", refused, deleteEach(true)},
		{"admin-deletes-in-a-batch", "delete every version by its ID in one request, asking to bypass governance", refused, deleteBatch(true, true)},
		{"admin-shortens-each-lock", "set every lock to end in a minute, asking to bypass governance", refused, relock(compliance, time.Minute, true)},
		{"admin-weakens-each-lock", "turn every lock into governance, as long as it is", refused, relock(governance, 300*24*time.Hour, true)},
		{"admin-removes-each-lock", "set no retention at all, asking to bypass governance", refused, unlock},
		{"admin-suspends-versioning", "suspend versioning", refused, suspendVersioning},
		{"admin-deletes-the-bucket", "delete the bucket", refused, deleteBucket},
	}
	for i, x := range out {
		out[i].do = func(ctx context.Context, a *arena) []try {
			admin := *a
			admin.writer = a.root
			return x.do(ctx, &admin)
		}
	}
	return out
}
