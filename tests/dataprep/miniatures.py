"""Hand-written miniature files of every layout, as bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from dataprep.preprocess import PreprocessReport, preprocess
from reccore.options import RunOptions

QUIET = RunOptions(progress=False)

ML_100K = {
    "u.data": b"2\t1\t4\t100\n1\t2\t3\t200\n1\t1\t5\t200\n1\t3\t1\t50\n",
    "u.item": (
        "1|Café Society (1995)|01-Jan-1995||http://x|0|1|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "2|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "3|Land (1995) (V)|01-Jan-1995||http://y|0|0|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|1|0\n"
    ).encode("latin-1"),
    "u.user": b"1|24|M|technician|85711\n2|53|F|other|E94043\n",
}
ML_1M = {
    "ratings.dat": b"1::20::5::978300760\n1::10::3::978300760\n2::10::1::978300000\n",
    "movies.dat": "10::Misérables, Les (1995)::Drama|Musical\n20::Mission: Impossible (1996)::Action\n".encode(
        "latin-1"
    ),
    "users.dat": b"1::F::1::10::48067\n2::M::56::0::70072-1\n",
}
ML_10M = {
    "ratings.dat": b"1::122::5::838985046\n1::185::4.5::838985046\n3::122::0.5::838983525\n",
    "movies.dat": "122::Misérables, Les (1995)::Drama\n185::Net, The (1995)::(no genres listed)\n".encode(),
    "tags.dat": "1::122::très bon::1215184630\n".encode(),
}
CSV = {
    "ratings.csv": b"userId,movieId,rating,timestamp\r\n1,1,4.0,300\r\n1,3,0.5,100\r\n2,1,5.0,100\r\n",
    "movies.csv": (
        "movieId,title,genres\r\n"
        '1,"American President, The (1995)",Comedy|Drama|Romance\r\n'
        '3,"He said ""no"" (1994–1996) ",(no genres listed)\r\n'
        "4,Babylon 5,Sci-Fi\r\n"
    ).encode(),
    "links.csv": b"movieId,imdbId,tmdbId\r\n1,0114709,862\r\n3,0113497,\r\n",
    "tags.csv": b'userId,movieId,tag,timestamp\r\n1,1,"funny, odd",1445714994\r\n',
}
ATOMIC = {
    "ml-100k.inter": (
        b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        b"1\t1412\t3\t881250949\n2\t2\t1\t881250949.0\n1\t267\t5\t881250949\n"
    ),
    "ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "2\tMisérables, Les\t1995\tDrama Musical\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
    ).encode(),
    "ml-100k.user": (
        b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\ttechnician\t85711\n"
    ),
}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def run(folder: Path, files: dict[str, bytes], share: float = 0.01) -> tuple[Path, PreprocessReport]:
    """Preprocess a miniature; returns the folder of tables and the report."""
    out = folder / "processed"
    report = preprocess(put(folder / "raw" / "mini", files), out, max_reject_share=share, options=QUIET)
    return out, report


def rows(path: Path) -> list[tuple]:
    """All rows of a Parquet file as tuples."""
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
