#!/usr/bin/env bash
# Trains the shipped model in one sitting on one GPU (an H100 takes seven minutes): paints on all cores, meanwhile
# trains the autoencoder, then the U-Net with its text encoder, and the judge beside them. Needs torch, numpy, Pillow,
# diffusers and transformers; wheels of what is missing may lie in .whl. Weights go to $OUT in half precision.
#
#   OUT=build/gpu recipes/gpu.sh                                a whole run
#   VAE_SECONDS=20 UNET_SECONDS=20 JUDGE_SECONDS=10 ...         a short one
#   SCALE=0.01 ...                                              a hundredth of the pictures, to try the script on a CPU
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3}
if compgen -G ".whl/*.whl" >/dev/null && ! $PYTHON -c 'import diffusers' 2>/dev/null; then
    $PYTHON -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
    export PYTHONPATH=/tmp/site${PYTHONPATH:+:$PYTHONPATH}
fi
export OUT=${OUT:-build/gpu} WORK=${WORK:-build/gpu-work} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$OUT" "$WORK"
nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null || echo "no GPU here"
began=$SECONDS
for part in paint vae judge unet; do
    $PYTHON -m recipes.gpu $part >"$OUT/$part.log" 2>&1 &
done
tail -q -F "$OUT/paint.log" "$OUT/vae.log" "$OUT/judge.log" "$OUT/unet.log" 2>/dev/null &
show=$!
for job in $(jobs -p | grep -v "^$show$"); do
    wait "$job" || echo "part $job ended with $?"
done
sleep 1
kill $show 2>/dev/null
cat "$OUT"/*.log >"$WORK/all.log"
rm -f "$OUT"/*.log && cp "$WORK/all.log" "$OUT/log.txt"
echo "took $((SECONDS - began)) s"
