// Sets the colour scheme that was chosen in the settings, before anything is painted.
{
  const theme = localStorage.getItem("stormsail-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
