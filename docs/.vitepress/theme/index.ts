// Without the theme's web fonts: the system's do.
import theme from 'vitepress/theme-without-fonts';
import './style.css';

export default theme;
