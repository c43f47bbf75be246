from covidpipe.api import (
    Cohort as Cohort,
)
from covidpipe.api import (
    CovidpipeError as CovidpipeError,
)
from covidpipe.api import (
    Image as Image,
)
from covidpipe.api import (
    Masks as Masks,
)
from covidpipe.api import (
    build_model as build_model,
)
from covidpipe.api import (
    draw_overlay as draw_overlay,
)
from covidpipe.api import (
    enhance_image as enhance_image,
)
from covidpipe.api import (
    list_models as list_models,
)
from covidpipe.api import (
    measure as measure,
)
from covidpipe.api import (
    open_cohort as open_cohort,
)
from covidpipe.api import (
    phantom_image as phantom_image,
)
from covidpipe.api import (
    predict_masks as predict_masks,
)
from covidpipe.api import (
    read_image as read_image,
)

__version__: str
__all__: list[str]
