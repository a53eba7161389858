package tobucket

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// class gives the storage class to ask for; noting says whether what is not asked for is noted. Archives are not written to
// unless that is wanted: what was just restored should be readable.
func (t *Target) class(e *format.Entry, noting bool) types.StorageClass {
	why := "objects of storage classes that cannot be asked for were restored to the bucket's usual one"
	switch c := types.StorageClass(e.StorageClass); c {
	case "", types.StorageClassStandard:
		return ""
	case types.StorageClassStandardIa, types.StorageClassOnezoneIa, types.StorageClassIntelligentTiering,
		types.StorageClassGlacierIr, types.StorageClassReducedRedundancy:
		return c
	case types.StorageClassGlacier, types.StorageClassDeepArchive:
		if t.o.ArchiveClasses {
			return c
		}
		why = "objects from archive classes were restored to the bucket's usual one"
	}
	if noting {
		t.note(why)
	}
	return ""
}

// noClass is a storage class that no server has.
const noClass types.StorageClass = "HOLDFAST_NONE"

// holdsClass finds out whether the server keeps a storage class, where an object is not in the class that the point has:
// it may have been moved, or the server may know no other. Uploads in parts that are begun and given up tell, and leave no
// object behind: the server shows the class, or refuses it, or refuses one that nobody has and not this one. One that takes
// any and shows none keeps none. It is done once for each class, and not in a dry run.
func (t *Target) holdsClass(ctx context.Context, key string, class types.StorageClass) (bool, error) {
	t.classing.Lock()
	defer t.classing.Unlock()
	if held, known := t.classes[class]; known || t.job.DryRun {
		return held || !known, nil
	}
	taken, shown, err := t.tryClass(ctx, key, class)
	if err != nil {
		return false, err
	}
	held := shown
	if taken && !shown {
		none, _, err := t.tryClass(ctx, key, noClass)
		if err != nil {
			return false, err
		}
		held = !none
	}
	t.classes[class] = held
	if !held {
		t.look.limited(limitClass + string(class))
	}
	return held, nil
}

// tryClass begins an upload and gives it up: whether the server takes the class, and whether it shows it.
func (t *Target) tryClass(ctx context.Context, key string, class types.StorageClass) (taken, shown bool, err error) {
	out, err := t.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &t.o.Bucket, Key: &key, StorageClass: class})
	if err != nil {
		return awsclient.AnswerOf(err).Code != "InvalidStorageClass" && class != noClass, false, ctx.Err() // of what else is wrong, putting the object will tell
	}
	parts, err := t.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &t.o.Bucket, Key: &key, UploadId: out.UploadId})
	u := &upload{receiver: &receiver{t: t, key: key}, id: out.UploadId}
	if aerr := u.abort(ctx); aerr != nil {
		t.note("an upload that was begun to find out about storage classes could not be given up: " + aerr.Error())
	}
	return true, err == nil && parts.StorageClass == class, ctx.Err()
}
