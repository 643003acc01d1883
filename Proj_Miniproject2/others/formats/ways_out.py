"""Files of pictures that no format here takes, and what makes some of them that one does."""

OME = "export it as OME-TIFF, with its maker's program or with Bio-Formats in Fiji"
MRC_OR_TIFF = "export it as MRC or TIFF of 32 bits, with its maker's program or DigitalMicrograph"
NIFTI = "convert it to NIfTI, as 3D Slicer or dcm2niix do"
PNG = "save it as a PNG or a TIFF"
RAW = "develop it to a TIFF first"
INSTRUMENTS = {  # for these folders are searched, too, so that nobody misses them in silence
    **dict.fromkeys((".czi", ".zvi", ".lsm"), ("Zeiss's microscopes", OME)),
    **dict.fromkeys((".nd2", ".nd"), ("Nikon's microscopes", OME)),
    **dict.fromkeys((".lif", ".lof", ".xlif"), ("Leica's microscopes", OME)),
    **dict.fromkeys((".oib", ".oif", ".oir", ".vsi", ".poir"), ("Olympus's microscopes", OME)),
    **dict.fromkeys((".ims",), ("Imaris", OME)),
    **dict.fromkeys((".dv", ".r3d"), ("DeltaVision's microscopes", OME)),
    **dict.fromkeys((".flex", ".mvd2", ".stk", ".scn", ".ndpi", ".bif", ".mrxs", ".qptiff"), ("scanners", OME)),
    **dict.fromkeys((".sif", ".spe"), ("spectrometers and their cameras", "export it as FITS or TIFF")),
    **dict.fromkeys((".dm3", ".dm4", ".emd", ".ser", ".tvips", ".eer"), ("electron microscopes", MRC_OR_TIFF)),
    **dict.fromkeys((".mha", ".mhd", ".nrrd", ".minc", ".mnc"), ("medical images", NIFTI)),
    **dict.fromkeys((".hdr",), ("light, or the header of a .img", PNG + ", or, if it is of Analyze, " + NIFTI)),
    **dict.fromkeys((".xisf",), ("PixInsight", "export it as FITS")),
    **dict.fromkeys((".psd", ".psb", ".xcf", ".kra", ".exr", ".jp2", ".j2k", ".jxl"), ("pictures", PNG)),
    **dict.fromkeys((".pef", ".srw", ".3fr", ".iiq", ".x3f", ".rwl", ".mrw", ".nrw"), ("cameras", RAW)),
}
OTHERS = {
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".he5", ".nc"), ("arrays", "save the array as .npy")),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"), ("films", "save its frames as one TIFF")),
    **dict.fromkeys((".svg", ".pdf", ".eps", ".ai"), ("drawings", "there is no noise in lines; " + PNG)),
}


def way_out(ending):
    """What a refusal says of a file with that ending: its kind, and what to do; nothing of one that isn't known."""
    kind, what_to_do = (INSTRUMENTS | OTHERS).get(ending.lower(), ("", ""))
    return f"is a file of {kind} ({ending.lower()}): {what_to_do}" if kind else ""
