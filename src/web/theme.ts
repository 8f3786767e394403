/** Light or dark: as the system has it, unless somebody said otherwise here. */
import { useState } from 'preact/hooks'

const KEY = 'fairlead-theme'
export type Theme = 'light' | 'dark'

export function storedTheme(): Theme | undefined {
  const found = localStorage.getItem(KEY)
  return found === 'light' || found === 'dark' ? found : undefined
}

export function applyTheme(theme: Theme | undefined): void {
  if (theme === undefined) delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme
}

function current(): Theme {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches
  return storedTheme() ?? (dark ? 'dark' : 'light')
}

/** @returns the theme that is shown, and what changes it */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(current)
  return [
    theme,
    () => {
      const other = theme === 'dark' ? 'light' : 'dark'
      localStorage.setItem(KEY, other)
      applyTheme(other)
      setTheme(other)
    },
  ]
}
