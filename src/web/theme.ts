/** Light or dark: as the system has it, unless somebody said otherwise here. */
import { useEffect, useState } from 'preact/hooks'

const KEY = 'fairlead-theme'
const systemDark = matchMedia('(prefers-color-scheme: dark)')
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
  return storedTheme() ?? (systemDark.matches ? 'dark' : 'light')
}

/** @returns the theme that is shown, and what changes it */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(current)
  useEffect(() => {
    const changed = (): void => setTheme(current())
    systemDark.addEventListener('change', changed)
    return () => systemDark.removeEventListener('change', changed)
  }, [])
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
